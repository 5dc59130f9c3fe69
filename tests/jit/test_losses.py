"""Cross entropy and its gradient as one row."""

import math

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import names
from tinygen.jit import capture
from tinygen.jit.passes import loss_gradients
from tinygen.jit.passes.losses import cross_entropy_and_gradient
from tinygen.jit.passes.together import has_kernel
from tinygen.jit.reuse import reusable

RNG = np.random.default_rng(0)
CLASSES = 37


def draw(*shape, dtype="float32"):
    return tg.Tensor(3 * RNG.standard_normal(shape).astype(dtype))


def step(x, target, weight=None, factor=1.0, **how):
    x = x.detach().requires_grad_()
    loss = tg.cross_entropy(x * 2, target, weight, **how)
    (factor * loss).sum().backward()
    return loss.detach(), x.grad


def fused(program):
    return "cross_entropy_and_gradient" in names(program)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_replays_agree_with_float64(reduction, weighted, smoothing, dtype):
    def given():
        target = RNG.integers(0, CLASSES, 50)
        target[::7] = 3
        return draw(50, CLASSES, dtype=dtype), tg.asarray(target)
    weight = tg.Tensor((RNG.random(CLASSES) + 0.5).astype(dtype)) if weighted else None
    how = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": 3}
    program = capture(lambda *a: step(*a, weight, 0.5, **how), *given()).optimized()
    assert fused(program) or has_kernel() is None
    x, target = given()
    wide = weight if weight is None else weight.astype("float64")
    expected = step(x.astype("float64"), target, wide, 0.5, **how)
    for _ in range(2):
        for a, b in zip(program.replay(x, target), expected, strict=True):
            assert a.dtype == x.dtype
            np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-6)


def test_logits_of_any_size_and_rows_that_are_not_numbers():
    x = np.array([[1e4, 0, -1e4], [0, 1, math.inf], [0, math.nan, 1], [-math.inf, 0, 1]], "f")
    for target, ignored in ([0, 1, 1, 1], -100), ([1, 1, 1, 1], 1):
        how = {"ignore_index": ignored, "reduction": "none"}
        target = tg.asarray(np.array(target))
        with np.errstate(all="ignore"):
            program = capture(lambda *a, how=how: step(*a, **how), tg.Tensor(x), target)
            for a, b in zip(program.optimized().replay(tg.Tensor(x), target),
                            step(tg.Tensor(x), target, **how), strict=True):
                np.testing.assert_allclose(a.data, b.data, rtol=1e-6)


def test_the_definition_and_only_ignored_rows():
    x, target, g = draw(4, 5).data, np.full(4, 2), np.float32(0.5)
    for ignored in (2, -100):
        how = {"ignore_index": ignored, "reduction": "sum", "label_smoothing": 0.0}
        loss, gx = cross_entropy_and_gradient.fn(np, x, g, target, None, **how)
        a, b = step(tg.Tensor(x / 2), tg.asarray(target), None, 0.5, **how)
        np.testing.assert_allclose(loss, a.data, rtol=1e-6)
        np.testing.assert_allclose(2 * gx, b.data, rtol=1e-5, atol=1e-7)
        assert ignored != 2 or not gx.any()


@pytest.mark.skipif(has_kernel() is None, reason="there are no kernels")
def test_the_gradient_is_written_over_logits_that_nobody_else_reads():
    x, target = draw(300, CLASSES), tg.asarray(RNG.integers(0, CLASSES, 300))
    program = capture(step, x, target).optimized()
    found = [program.rows[i].op.name for i in reusable(program)]
    assert "cross_entropy_and_gradient" in found
    before = x.data.copy()
    first = [y.data.copy() for y in program.replay(x, target)]
    np.testing.assert_array_equal(x.data, before)
    other = program.replay(draw(300, CLASSES), target)          # what was handed out stays
    again = program.replay(x, target)
    assert not np.array_equal(other[1].data, again[1].data)
    for a, b in zip(again, first, strict=True):
        np.testing.assert_array_equal(a.data, b)

    def reads(x, target):
        x = x.detach().requires_grad_()
        logits = x * 2
        loss = tg.cross_entropy(logits, target)
        loss.backward()
        return loss.detach(), x.grad, logits.detach()
    program = capture(reads, x, target).optimized()
    assert fused(program)
    for a, b in zip(program.replay(x, target), reads(x, target), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-7)


def test_two_losses_of_one_array_and_a_gradient_that_comes_later():
    x, target = draw(6, 5), tg.asarray(RNG.integers(0, 5, 6))

    def two(x, target):
        x = x.detach().requires_grad_()
        y = x * 2
        loss = tg.cross_entropy(y, target) + tg.cross_entropy(y, target, label_smoothing=0.2)
        loss.backward()
        return loss.detach(), x.grad

    def squared(x, target):
        x = x.detach().requires_grad_()
        loss = tg.cross_entropy(x, target)
        (loss * loss).backward()
        return loss.detach(), x.grad
    for f, joins in (two, True), (squared, False):
        program = loss_gradients(capture(f, x, target).optimized(fuse=False))
        assert fused(program) == (joins and has_kernel() is not None)
        for a, b in zip(program.replay(x, target), f(x, target), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-7)


def test_a_class_out_of_range_is_found_and_nothing_is_changed():
    x, target = draw(8, 5), tg.asarray(RNG.integers(0, 5, 8))
    program = capture(step, x, target).optimized()
    with pytest.raises(IndexError):
        program.replay(x, tg.asarray(np.full(8, 5)))
    for a, b in zip(program.replay(x, target), step(x, target), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-7)
