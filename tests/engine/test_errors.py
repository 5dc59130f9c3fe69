"""Errors name the op, its arguments, their shapes, what would fit, and whose line it was."""

import os
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg

F = tg.ones


ERRORS = [
    (lambda: F((4, 4)) @ F((3, 3)), ValueError,
     "[matmul] a: float32 (4, 4), b: float32 (3, 3): inner sizes 4 and 3 differ"),
    (lambda: F((3,)) @ F((4,)), ValueError,
     "[matmul] a: float32 (3,), b: float32 (4,): inner sizes 3 and 4 differ"),
    (lambda: F((2, 4, 3)) @ F((3, 3, 2)), ValueError,
     "[matmul] a: float32 (2, 4, 3), b: float32 (3, 3, 2): batch axes (2,) and (3,) do not "
     "broadcast"),
    (lambda: F(()) @ F((3,)), ValueError,
     "a 0-d tensor has no rows to multiply; use * for numbers"),
    (lambda: F((2, 3)) + F((2, 4)), ValueError,
     "[add] x: float32 (2, 3), y: float32 (2, 4): shapes do not broadcast: "
     "axis -1 is 3 in x and 4 in y; sizes must be equal or 1"),
    (lambda: tg.where(F((2,)) > 0, F((3,)), 0.0), ValueError,
     "[where] condition: bool (2,), x: float32 (3,), y: 0.0: shapes do not broadcast: "
     "axis -1 is 2 in condition and 3 in x"),
    (lambda: F((2, 3)).reshape(4, 2), ValueError,
     "[reshape] x: float32 (2, 3), shape=(4, 2): 6 elements do not fit into (4, 2), which holds 8"),
    (lambda: F((2, 3)).reshape(4, -1), ValueError,
     "[reshape] x: float32 (2, 3), shape=(4, -1): 6 elements cannot be split evenly into rows of "
     "4"),
    (lambda: tg.concat([F((2, 3)), F((2, 4))]), ValueError,
     "axis 1 is 3 in xs[0] and 4 in xs[1]; only axis 0 may differ"),
    (lambda: tg.concat([F((2, 3)), F((3,))]), ValueError, "xs[0] has 2 axes and xs[1] has 1"),
    (lambda: tg.concat([]), ValueError, "an empty list was given"),
    (lambda: tg.concat([F((2,))], axis=1), IndexError, "axis 1 does not exist in 1 axes"),
    (lambda: tg.stack([F((2,)), F((3,))]), ValueError,
     "[stack] xs[0] has shape (2,) and xs[1] (3,); all must be equal"),
    (lambda: tg.split(F((5, 2)), 2), ValueError,
     "[split] axis 0 of (5, 2) has length 5, which does not divide into 2 equal parts"),
    (lambda: F((2, 3)).squeeze(0), ValueError, "[squeeze] axis 0 of (2, 3) has length 2, not 1"),
    (lambda: F((2, 3)).swapaxes(0, 2), IndexError,
     "[swapaxes] axis 2 is out of range for 2 axes (use -2 to 1)"),
    (lambda: F((2, 3)).sum(axis=2), IndexError, "[sum] x: float32 (2, 3), axis=2"),
    (lambda: tg.linear(F((2, 3)), F((4, 5))), ValueError,
     "the last axis of x is 3, weight (out, in) expects 5"),
    (lambda: tg.linear(F((2, 3)), F((4, 3)), F((3,))), ValueError,
     "bias must have shape (4,), got (3,)"),
    (lambda: tg.linear(F((2, 3)), F((3,))), ValueError,
     "weight must have two axes (out, in), got (3,)"),
    (lambda: tg.einsum("ij,jk->ik", F((2, 3))), ValueError,
     "[einsum] 'ij,jk->ik' names 2 operands, 1 were given"),
    (lambda: tg.einsum("ij->i", F((2, 3, 4))), ValueError,
     "[einsum] operand 0 is 'ij' in 'ij->i', but has shape (2, 3, 4)"),
    (lambda: tg.tensordot(F((2, 3)), F((4, 5)), 1), ValueError,
     "[tensordot] a: (2, 3), b: (4, 5): axes (1,) of a and (0,) of b must pair up"),
    (lambda: tg.topk(F((3,)), 4), ValueError, "[topk] k=4 of 3 elements along axis 0 of (3,)"),
    (lambda: tg.clip(F((3,))), ValueError, "give min, max or both"),
    (lambda: tg.gelu(F((3,)), approximate="fast"), ValueError,
     "[gelu] approximate must be 'none' or 'tanh', got 'fast'"),
    (lambda: F((3,)).assign_(F((4,))), ValueError,
     "[assign_] value has shape (4,), the tensor (3,)"),
    (lambda: tg.scatter_add(F((3,)), np.array([0, 1]), F((3,))), ValueError,
     "[scatter_add] indices have shape (2,), source (3,); they must be equal"),
    (lambda: F((2,)) + "text", TypeError, "[add] x: float32 (2,), y: 'text'"),
    (lambda: F((2,)) * None, TypeError, "[multiply] x: float32 (2,), y: None"),
    (lambda: tg.exp(None), TypeError, "[exp] x: None"),
    (lambda: tg.linear(F((2, 3)), bias=F((3,))), TypeError,
     "[linear] missing a required argument: 'weight'"),
    (lambda: tg.linear(F((2, 3)), F((3, 3)), weight=F((3, 3))), TypeError,
     "[linear] multiple values for argument 'weight'"),
    (lambda: tg.exp(F((2,)), y=2), TypeError, "[exp] x: float32 (2,), y=2"),
    (lambda: tg.repeat(F((3,)), [1, 2]), ValueError,
     "[repeat] 2 repeats for axis 0 of (3,), which has length 3"),
    (lambda: tg.broadcast_to(F((3,)), (2, 4)), ValueError, "[broadcast_to] x: float32 (3,)"),
    (lambda: tg.max(F((0,))), ValueError, "[max] x: float32 (0,)"),
    (lambda: tg.permute_dims(F((2, 3)), (0, 0)), ValueError, "[permute_dims] x: float32 (2, 3)"),
    (lambda: tg.take_along_axis(F((2, 3)), np.array([0, 1]), 0), ValueError,
     "[take_along_axis] x: float32 (2, 3), indices: int64 (2,)"),
]


@pytest.mark.parametrize("call, kind, text", ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_the_message_says_what_does_not_fit(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value)


def test_the_note_has_the_users_line():
    with pytest.raises(ValueError) as caught:
        F((4, 4)) @ F((3, 3))                                     # the user's line
    note, = caught.value.__notes__
    assert __file__ in note and "# the user's line" in note
    assert "in test_the_note_has_the_users_line" in note


def test_the_users_line_comes_last_in_the_printed_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent("""\
        import tinygen as tg

        def model(x):
            return x @ tg.ones((3, 3))   # culprit

        model(tg.ones((4, 4)))
        """))
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": root}, check=False)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert "inner sizes 4 and 3 differ" in lines[-2]
    assert str(script) in lines[-1] and "# culprit" in lines[-1]
    assert "During handling" not in done.stderr


def test_an_error_inside_a_composite_names_the_inner_op_once():
    with pytest.raises(ValueError) as caught:
        tg.outer(F((2,)), F((3,))) @ F((2,))
    assert str(caught.value).startswith("[matmul]")
    with pytest.raises(TypeError) as caught:
        tg.tensordot(F((2, 3)), "text", 1)
    assert str(caught.value).count("[") <= 1


def test_errors_in_backward_hooks_keep_their_own_traceback():
    x = tg.ones((2,), requires_grad=True)

    def hook(g):
        raise LookupError("mine")
    x.register_hook(hook)
    with pytest.raises(LookupError, match="mine") as caught:
        x.sum().backward()
    assert "hook" in traceback.format_tb(caught.value.__traceback__)[-1]


def test_long_arguments_are_cut():
    with pytest.raises(TypeError) as caught:
        F((2,)) + {"key" * 100: 1}
    assert len(str(caught.value)) < 300


def test_nothing_is_half_done_after_an_error():
    x = tg.ones((2, 2), requires_grad=True)
    y = x * 2
    with pytest.raises(ValueError):
        y += tg.ones((3,))
    y.sum().backward()
    assert x.grad.tolist() == [[2, 2], [2, 2]]
    z = tg.ones((2, 2))
    with pytest.raises(ValueError):
        z += tg.ones((3,))
    assert z.tolist() == [[1, 1], [1, 1]]


def test_a_cuda_device_that_is_not_there_is_explained():
    from tinygen import backend
    if backend.unavailable_reason() is None:
        pytest.skip("there is a CUDA device here")
    with pytest.raises(RuntimeError, match=r"device 'cuda' cannot be used: (CuPy|there|the)"):
        F((2,)).to("cuda")
    with pytest.raises(RuntimeError, match="CuPy"):
        F((2,), device="cuda:1")


class Elsewhere:
    """Looks to dispatch like an array on another device."""

    __module__ = "cupy"
    dtype, shape, ndim, size = np.dtype(np.float32), (2,), 1, 2
    device = type("Device", (), {"id": 0})()


def test_mixed_devices_are_named():
    x = tg.Tensor.wrap(Elsewhere())
    assert x.device == "cuda:0"
    with pytest.raises(TypeError) as caught:
        F((2,)) * x
    assert "[multiply]" in str(caught.value)
    assert "x is on cpu and y is on cuda:0; use .to(...)" in str(caught.value)
