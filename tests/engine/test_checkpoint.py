"""checkpoint: memory for time, and the same gradients."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd import grad_of


def close(tensor, expected, rtol=1e-10, atol=1e-12):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=rtol, atol=atol)


def leaves(*shapes):
    rng = np.random.default_rng(1)
    return [tg.Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]


def check_same(build, inputs):
    """Gradients of build(wrap) are the same with and without checkpoints, to second order."""
    def plain(f, *args):
        return f(*args)
    results = []
    for wrap in (plain, tg.checkpoint):
        y = (build(wrap) ** 2.0).sum()
        first = grad_of(y, inputs, retain_graph=True)
        lifted = grad_of(y, inputs, create_graph=True)
        second = grad_of(sum((g * g * g).sum() for g in lifted), inputs)
        for p in inputs:
            p.grad = None
        y = (build(wrap) ** 2.0).sum()
        y.backward()
        results.append([*first, *lifted, *second, *(p.grad for p in inputs)])
    for a, b in zip(*results, strict=True):
        close(b, a.detach().numpy())


def test_checkpoint_gives_the_same_gradients():
    x, w = leaves((2, 3), (3, 3))
    check_same(lambda wrap: wrap(lambda a, b: tg.tanh(a @ b) * a, x, w), [x, w])


def test_checkpoint_with_tensors_from_outside():
    x, w = leaves((2, 3), (3, 3))
    check_same(lambda wrap: wrap(lambda a: tg.tanh(a @ w) * x, x), [x, w])


def test_checkpoint_with_computed_tensors_from_outside():
    x, w = leaves((2, 3), (3, 3))

    def build(wrap):
        scale = tg.exp(w).sum()                # used inside, made outside, and used again after
        h = wrap(lambda a: tg.tanh(a @ w) * scale, x @ w)
        return h + scale
    check_same(build, [x, w])


def test_checkpoints_in_a_row_and_nested():
    x, w = leaves((2, 3), (3, 3))

    def build(wrap):
        h = x
        for _ in range(3):
            h = wrap(lambda a: wrap(lambda b: tg.tanh(b @ w), a) + a, h)
        return h
    check_same(build, [x, w])


def test_checkpoint_with_structured_arguments_and_results():
    x, w = leaves((2, 3), (3, 3))

    def build(wrap):
        out = wrap(lambda d, k: {"a": d["x"] @ d["w"], "b": [d["x"] * k, tg.ones((1,))]},
                   {"x": x, "w": w}, 2.0)
        return out["a"].sum() * out["b"][0] + out["b"][1]
    check_same(build, [x, w])


def test_checkpoint_repeats_random_draws():
    x, = leaves((4,))
    masks = []

    def dropout(v):
        mask = tg.random.bernoulli(0.5, (4,))
        masks.append(mask.numpy().copy())
        return v * mask
    tg.manual_seed(5)
    y = tg.checkpoint(dropout, x)
    tg.random.uniform((10,))
    after = tg.random.get_state()
    y.sum().backward()
    assert len(masks) == 2
    np.testing.assert_array_equal(*masks)
    close(x.grad, masks[0])
    assert tg.random.get_state() == after        # the recomputation leaves the stream alone


def test_checkpoint_keeps_only_its_inputs():
    import weakref
    x, = leaves((3,))
    freed = []

    def f(v):
        h = tg.exp(v)
        weakref.finalize(h, freed.append, "h")
        return h * h
    y = tg.checkpoint(f, x)
    assert freed == ["h"]
    y.sum().backward()
    assert freed == ["h", "h"]                   # once more in backward


def test_checkpoint_without_gradients_just_calls():
    with tg.no_grad():
        y = tg.checkpoint(lambda v: v * 2, tg.ones((2,)))
    assert not y.requires_grad
    assert not tg.checkpoint(lambda v: v * 2, tg.ones((2,))).requires_grad


def test_checkpoint_refuses_results_that_are_no_tensors():
    with pytest.raises(TypeError, match=r"\[checkpoint\] .* must return tensors, got int"):
        tg.checkpoint(lambda v: 3, tg.ones((2,), requires_grad=True))


def test_a_stale_argument_of_a_checkpoint_is_found():
    x, w = leaves((2, 2), (2, 2))
    y = tg.checkpoint(lambda a: a @ w, x)
    with tg.no_grad():
        w += 1.0
    with pytest.raises(RuntimeError, match="modified after it was used"):
        y.sum().backward()
