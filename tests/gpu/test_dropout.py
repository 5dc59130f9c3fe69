"""Random numbers on a GPU: Philox to the bit, laws that hold, streams that can be continued."""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.doubles.cuda.build import ORDERS, build, thread_order
from tests.gpu.agreement import check
from tests.gpu.running import BF16, DTYPES, draw, launch, needs_compiler
from tinygen.primitive import KERNELS, PRIMITIVES
from tinygen.random.drop import bits, draw_key

pytestmark = needs_compiler
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def philox(counter, key, bits, multipliers, weyl):
    """Ten rounds on four words of so many bits, in Python's integers."""
    low = (1 << bits) - 1
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        one, two = a * multipliers[0], c * multipliers[1]
        a, b, c, d = (two >> bits) ^ b ^ k0, two & low, (one >> bits) ^ d ^ k1, one & low
        k0, k1 = (k0 + weyl[0]) & low, (k1 + weyl[1]) & low
    return [a, b, c, d]


def philox32(counter, key):
    return philox(counter, key, 32, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85))


def drawn(state, count, order=0):
    """The words that the kernel draws; the state moves on."""
    from tinygen.kernels.gpu.launch import read

    y = np.empty(count, np.uint32)
    build(read("random.cu"))["draw_words"]((-(-count // 1024),), (256,), (
        state, y, np.uint64(count)), order=order)
    return y


# From the known answers of the Random123 library, philox4x32 with 10 rounds.
ANSWERS = [([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
           ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
           ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1])]


@pytest.mark.parametrize("counter, key, answer", ANSWERS)
def test_the_rounds_give_the_published_answers(counter, key, answer):
    assert philox32(counter, key) == answer


def test_the_rounds_are_those_of_numpy_at_64_bits():
    key = [0x123456789ABCDEF0, 0xFEDCBA9876543210]
    raw = np.random.Philox(counter=5, key=np.array(key, np.uint64)).random_raw(8)
    wide = ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B))
    # NumPy counts before it draws
    assert [*raw[:4]] == philox([6, 0, 0, 0], key, 64, *wide)
    assert [*raw[4:]] == philox([7, 0, 0, 0], key, 64, *wide)


@pytest.mark.parametrize("order", range(len(ORDERS)))
@pytest.mark.parametrize("seed, number", [(0, 0), (0xA409382200000001, (1 << 32) - 2),
                                          ((1 << 64) - 1, 77)])
def test_the_kernel_draws_those_words_and_moves_the_stream_on(seed, number, order):
    state = np.array([seed, number, 0], np.uint64)
    wanted = np.concatenate([
        philox32([n & 0xFFFFFFFF, n >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])
        for n in range(number, number + 300)]).astype(np.uint32)
    first = drawn(state, 1021, order)                    # more than a block, the last in part
    assert state.tolist() == [seed, number + 256, 0]
    second = drawn(state, 100, order)
    np.testing.assert_array_equal(np.concatenate([first, second]),
                                  np.concatenate([wanted[:1021], wanted[1024:1124]]))


def both(cupy, name, seed=3, **how):
    """What the kernel draws in each order, and the definition; both leave the same state."""
    ends = []
    for order in (*range(len(ORDERS)), None):
        generator = tg.Generator(seed, "cuda")
        if order is None:
            y = PRIMITIVES[name].fn(cupy, generator=generator, **how)
        else:
            with thread_order(order), counted() as seen:
                y = KERNELS[name, cupy.ndarray](generator=generator, **how)
            assert (seen.launches, seen.syncs, seen.d2h, seen.h2d) == (1, 0, 0, 0)
        assert y is not NotImplemented
        ends.append((y.get(), generator.state()))
    assert all(state == ends[0][1] for _, state in ends)
    return [y for y, _ in ends]


@every_type
@pytest.mark.parametrize("shape", [(), (5,), (3, 7), (1031,)])
def test_uniform_and_normal_numbers_are_the_definition_s(cupy, dtype, shape):
    how = {"shape": shape, "dtype": dtype}
    *found, wanted = both(cupy, "random_uniform", **how)
    for y in found:
        assert y.dtype == dtype and y.shape == shape
        np.testing.assert_array_equal(y, wanted)
    *found, wanted = both(cupy, "random_normal", **how)
    near = 2e-6 if dtype.itemsize == 4 else 1e-2
    for y in found:
        assert y.tobytes() == found[0].tobytes() and y.dtype == dtype
        np.testing.assert_allclose(y.astype(float), wanted.astype(float), rtol=near, atol=near)


def test_integers_and_keys_are_the_definition_s(cupy):
    for low, high in ((0, 10), (-5, 1 << 40), (-(1 << 63), (1 << 63) - 1)):
        *found, wanted = both(cupy, "random_integers", shape=(2, 301), low=low, high=high,
                              dtype=np.dtype(np.int64))
        assert all((y == wanted).all() for y in found)
        assert wanted.min() >= low and wanted.max() < high
    *found, wanted = both(cupy, "random_key")
    assert all(y == wanted and y.dtype == np.uint64 for y in found)


def test_laws(cupy):
    tg.manual_seed(1)
    u, z = (f((20000,), device="cuda").numpy() for f in (tg.random.uniform, tg.random.normal))
    assert 0 <= u.min() and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
    assert abs(z.mean()) < 0.03 and abs(z.var() - 1) < 0.04
    assert abs((z ** 3).mean()) < 0.1 and abs((z ** 4).mean() - 3) < 0.25
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.04       # of the pairs of Box and Muller
    assert abs(np.corrcoef(z[:-4], z[4:])[0, 1]) < 0.03
    small = tg.random.uniform((20000,), dtype=BF16, device="cuda").numpy().astype(float)
    assert small.max() < 1 and len(np.unique(small)) == 256


def test_seeds_and_states_reproduce_streams():
    generator = tg.Generator(7, "cuda")
    first = tg.random.normal((50,), generator=generator).numpy()
    state = generator.state()
    second = tg.random.normal((50,), generator=generator).numpy()
    generator.manual_seed(7)
    np.testing.assert_array_equal(tg.random.normal((50,), generator=generator).numpy(), first)
    generator.set_state(state)
    np.testing.assert_array_equal(tg.random.normal((50,), generator=generator).numpy(), second)
    other = tg.random.normal((50,), generator=tg.Generator(8, "cuda")).numpy()
    assert not np.isin(other, first).any() and not np.isin(second, first).any()


# -- dropout ---------------------------------------------------------------------------------------


@every_type
@pytest.mark.parametrize("shape", [(7,), (3, 5, 4), (1030,)])
def test_dropout_is_the_definition(cupy, dtype, shape):
    key = np.array(0x9876543210ABCDEF, np.uint64)
    for p in (0.1, 0.5, 0.9):
        check(cupy, "dropout", dtype, draw(shape), key, p=p, scale=2)


def test_an_element_at_the_limit_is_kept(cupy):
    key = np.array(3, np.uint64)
    word = int(bits(np, key, 0, 8)[5])
    y = launch(cupy, "dropout", np.ones(8, np.float32), key, p=word / 2 ** 32)
    assert y[5] > 0 and launch(cupy, "dropout", np.ones(8, np.float32), key,
                               p=(word + 1) / 2 ** 32)[5] == 0


def test_the_mask_of_the_cpu_for_any_memory_order(cupy):
    key, x = np.array(11, np.uint64), draw((6, 9, 4)) + 9
    wanted = PRIMITIVES["dropout"].fn(np, x, key, p=0.3)
    native, there = KERNELS["dropout", cupy.ndarray], cupy.asarray(key)
    for a in (cupy.asarray(x), cupy.asarray(np.ascontiguousarray(x.T)).T):
        y = native(a, there, p=0.3).get()
        np.testing.assert_allclose(y, wanted, rtol=1e-6)
    wide = native(cupy.asarray(x.astype(float)), there, p=0.3)
    assert wide is NotImplemented


def test_dropout_keeps_its_share_and_elements_are_independent(cupy):
    x = np.ones(1 << 14, np.float32)
    masks = [launch(cupy, "dropout", x, np.array(key, np.uint64), p=0.25) > 0 for key in (1, 2)]
    for kept in masks:
        assert abs(kept.mean() - 0.75) < 0.015
        for step in (1, 2, 3, 4, 256):
            assert abs(np.corrcoef(kept[:-step], kept[step:])[0, 1]) < 0.03
    assert abs(np.corrcoef(*masks)[0, 1]) < 0.03


def test_nan_and_infinity_pass_through_as_in_the_definition(cupy):
    x = np.array([np.nan, np.inf, -np.inf] * 9, np.float32)
    check(cupy, "dropout", np.float32, x, np.array(5, np.uint64), p=0.5)


def test_gradients_have_the_mask_of_the_forward_pass():
    x = tg.Tensor(np.ones((40, 30), np.float32), device="cuda", requires_grad=True)
    for _ in range(2):
        x.grad = None
        with counted() as seen:
            y = tg.nn.functional.dropout(x, 0.4)
            y.sum().backward()
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0)
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    tg.manual_seed(4)
    a = draw_key(None, "cuda").numpy()
    tg.manual_seed(4)
    assert draw_key(None, "cuda").numpy() == a
