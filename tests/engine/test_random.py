"""Random draws: distributions, seeds, saved states, generators, and draws inside programs."""

import copy
import json
import pickle
import threading

import numpy as np
import pytest
from scipy import stats

import tinygen as tg
from tinygen.jit import capture

N = 20_000


def values(tensor):
    return tensor.detach().numpy()


# -- distributions (fixed seeds: the p-values below cannot flicker) --------------------------------


@pytest.mark.parametrize("draw, law", [
    (lambda: tg.random.normal((N,)), stats.norm(0, 1)),
    (lambda: tg.random.normal((N,), 2.0, 3.0), stats.norm(2, 3)),
    (lambda: tg.random.uniform((N,)), stats.uniform(0, 1)),
    (lambda: tg.random.uniform((N,), -2.0, 5.0), stats.uniform(-2, 7)),
    (lambda: tg.randn(N), stats.norm(0, 1)),
    (lambda: tg.rand(N), stats.uniform(0, 1)),
])
def test_continuous_draws_follow_their_law(draw, law):
    tg.manual_seed(0)
    x = draw()
    assert (x.dtype, x.shape) == (np.float32, (N,))
    assert stats.kstest(values(x), law.cdf).pvalue > 0.001


def test_integers_are_uniform_and_in_range():
    tg.manual_seed(0)
    x = tg.random.randint(-2, 4, (N,))
    assert x.dtype == np.int64
    counts = np.bincount(values(x) + 2)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001
    assert set(values(tg.random.randint(3, shape=(100,)))) == {0, 1, 2}
    assert tg.random.randint(0, 5, (3,), dtype="uint8").dtype == np.uint8
    with pytest.raises(ValueError, match=r"\[randint\] the range \[3, 3\) is empty"):
        tg.random.randint(3, 3)


def test_permutations():
    tg.manual_seed(0)
    orders = np.array([values(tg.random.permutation(3)) for _ in range(600)])
    assert (np.sort(orders, 1) == np.arange(3)).all()
    counts = np.unique(orders @ [9, 3, 1], return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 0.001
    x = tg.Tensor(np.arange(10.0).reshape(5, 2), requires_grad=True)
    y = tg.random.permutation(x)
    np.testing.assert_array_equal(np.sort(values(y)[:, 0]), np.arange(0, 10, 2))
    y.sum().backward()
    np.testing.assert_array_equal(values(x.grad), np.ones((5, 2)))


def test_bernoulli():
    tg.manual_seed(0)
    x = tg.random.bernoulli(0.3, (N,))
    assert x.dtype == np.float32 and set(values(x)) == {0.0, 1.0}
    assert stats.binomtest(int(values(x).sum()), N, 0.3).pvalue > 0.001
    p = tg.Tensor(np.array([0.0, 1.0, 0.5]), requires_grad=True)
    y = tg.random.bernoulli(p)
    assert (y.shape, y.dtype, y.requires_grad) == ((3,), np.float64, False)
    assert values(y)[:2].tolist() == [0, 1]
    assert tg.random.bernoulli(0.5, (4,), dtype="bool").dtype == np.bool_
    with pytest.raises(ValueError, match=r"\[bernoulli\] p must lie in \[0, 1\].*1.5"):
        tg.random.bernoulli(1.5, (2,))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype):
    assert tg.random.normal((3,), 1.0, 2.0, dtype=dtype).dtype == dtype
    assert tg.random.uniform((3,), 1.0, 2.0, dtype=dtype).dtype == dtype
    with pytest.raises(TypeError, match=r"\[random\] dtype must be a floating point type"):
        tg.random.normal((3,), dtype="int64")


def test_draws_stay_below_the_upper_end():
    tg.manual_seed(0)
    for dtype in ("float16", "float32"):
        x = values(tg.random.uniform((200_000,), dtype=dtype))
        assert (x >= 0).all() and (x < 1).all()


def test_tensor_parameters_receive_gradients():
    """The reparameterisation trick: z = mean + std * noise."""
    mean = tg.Tensor(np.zeros(3), requires_grad=True)
    std = tg.Tensor(np.ones(3), requires_grad=True)
    z = tg.random.normal((3,), mean, std, dtype="float64")
    z.sum().backward()
    np.testing.assert_allclose(values(mean.grad), np.ones(3))
    np.testing.assert_allclose(values(std.grad), values(z))


def test_requires_grad_and_empty_shapes():
    assert tg.random.normal((2,), requires_grad=True).is_leaf
    assert tg.random.uniform((2,), 0.0, 2.0, requires_grad=True).requires_grad
    assert tg.random.normal().shape == ()
    assert tg.random.normal((0, 3)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"lengths must not be negative, got shape \(-1,\)"):
        tg.random.normal((-1,))
    with pytest.raises(ValueError, match=r"\[normal\] std must not be negative"):
        tg.random.normal((2,), std=-1.0)


# -- seeds, states and generators ------------------------------------------------------------------


def draw_all():
    return [values(tg.random.normal((3,))), values(tg.random.uniform((3,))),
            values(tg.random.randint(100, shape=(3,))), values(tg.random.permutation(9)),
            values(tg.random.bernoulli(0.5, (9,)))]


def test_the_same_seed_gives_the_same_numbers():
    tg.manual_seed(7)
    first = draw_all()
    tg.manual_seed(7)
    for a, b in zip(first, draw_all(), strict=True):
        np.testing.assert_array_equal(a, b)
    tg.manual_seed(8)
    assert any((a != b).any() for a, b in zip(first, draw_all(), strict=True))


def test_a_saved_state_continues_the_stream():
    tg.manual_seed(7)
    draw_all()
    state = json.loads(json.dumps(tg.random.get_state()))         # as a checkpoint stores it
    first = draw_all()
    tg.random.set_state(state)
    for a, b in zip(first, draw_all(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_generators_are_independent_of_the_default():
    g = tg.Generator(3)
    tg.manual_seed(0)
    a = values(tg.random.normal((4,), generator=g))
    tg.random.normal((100,))
    b = values(tg.random.normal((4,), generator=g))
    g.manual_seed(3)
    np.testing.assert_array_equal(np.concatenate([a, b]), np.concatenate(
        [values(tg.random.normal((4,), generator=g)) for _ in range(2)]))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_generators_can_be_copied_and_pickled(clone):
    g = tg.Generator(3)
    tg.random.normal((5,), generator=g)
    h = clone(g)
    np.testing.assert_array_equal(values(tg.random.normal((4,), generator=g)),
                                  values(tg.random.normal((4,), generator=h)))
    assert h.seed == 3 and h is not g


def test_generators_are_checked():
    with pytest.raises(ValueError, match="seed must be a non-negative integer, got -1"):
        tg.Generator(-1)
    with pytest.raises(ValueError, match="seed must be"):
        tg.manual_seed(1.5)
    with pytest.raises(TypeError, match=r"generator must be a tinygen.Generator, got Generator"):
        tg.random.normal((2,), generator=np.random.default_rng())
    with pytest.raises(ValueError, match="not the state of a tinygen Generator"):
        tg.Generator(0).set_state({"seed": 1})
    assert repr(tg.Generator(3)) == "Generator(seed=3, device='cpu')"
    assert tg.Generator().seed != tg.Generator().seed


def test_a_failed_set_state_changes_nothing():
    g = tg.Generator(3)
    before = g.state()
    with pytest.raises(ValueError):
        g.set_state({"seed": 1, "bits": {"bit_generator": "MT19937"}})
    assert g.state() == before


def test_threads_with_generators_of_their_own_draw_reproducibly():
    results = {}

    def work(k):
        g = tg.Generator(k)
        results[k] = [values(tg.random.normal((50,), generator=g)) for _ in range(20)]
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    for k in range(4):
        g = tg.Generator(k)
        np.testing.assert_array_equal(results[k], [values(tg.random.normal((50,), generator=g))
                                                   for _ in range(20)])


# -- draws inside captured programs ----------------------------------------------------------------


def test_a_replayed_program_draws_new_numbers_from_its_generator():
    g = tg.Generator(0)

    def step(x):
        return x + tg.random.normal((3,), generator=g), tg.random.bernoulli(0.5, (64,), generator=g)
    x = tg.zeros((3,))
    program = capture(step, x)
    a, b = program.replay(x), program.replay(x)
    assert (values(a[0]) != values(b[0])).all()
    assert (values(a[1]) != values(b[1])).any()
    g.manual_seed(0)
    first = step(x)
    g.manual_seed(0)
    again = program.replay(x)
    for y, z in zip(first, again, strict=True):
        np.testing.assert_array_equal(values(y), values(z))
