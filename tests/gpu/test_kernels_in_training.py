"""Training steps with the kernels of kernels/gpu, run on the CPU: they are taken, and agree.

A few small models, because every thread of a kernel is emulated; `test_models.py` runs all of them
without kernels.
"""

import os

import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tests.gpu.running import needs_compiler
from tests.gpu.training import CASES, HostStream, tensors
from tinygen.primitive import KERNELS as TABLE
from tinygen.random.draws import default_generator

pytestmark = [needs_compiler, pytest.mark.skipif(
    os.environ.get("TINYGEN_KERNELS", "") == "numpy", reason="TINYGEN_KERNELS=numpy: no kernels")]

# model -> kernels that its step runs on, among others
EXPECTED = {
    "gpt": {"attention", "attention_vjp", "layer_norm", "layer_norm_vjp", "look_up",
            "scatter_index", "cross_entropy", "cross_entropy_vjp"},
    "conv-vae": {"conv2d", "conv_transpose2d", "conv2d_weight", "linear", "random_normal"},
    "lstm-language-model": {"lstm_sequence", "lstm_sequence_vjp", "look_up"},
    "mult-vae": {"linear", "dropout", "adam_updates"},
}


def stepped(name, device):
    make, batch = CASES[name]
    tg.manual_seed(0)
    model = make().to(device)
    optimizers, batch = model.configure_optimizers(), tensors(batch(), device)
    tg.manual_seed(1)
    if device != "cpu":
        default_generator(device).stream = HostStream(1)
    first = model.training_step(*batch, optimizers)
    return {k: v.item() for k, v in first.items()}, model, batch, optimizers


@pytest.mark.parametrize("name", EXPECTED)
def test_kernels_are_taken_and_agree_with_the_cpu(cupy, name):
    expected, *_ = stepped(name, "cpu")
    kernels = {k: kernel for (k, kind), kernel in TABLE.items() if kind is cupy.ndarray}
    for kernel in kernels.values():
        kernel.last = None
    found, model, batch, optimizers = stepped(name, "cuda")
    assert found == pytest.approx(expected, rel=2e-4)
    tg.manual_seed(2)                               # the device's own stream again
    model.training_step(*batch, optimizers)
    kernels = {k: kernel for (k, kind), kernel in TABLE.items() if kind is cupy.ndarray}
    told = {k: kernels[k].last if k in kernels else "no kernel" for k in EXPECTED[name]}
    assert all(last is True for last in told.values()), told
    with counted() as seen:
        model.training_step(*batch, optimizers)
    assert (seen.syncs, seen.h2d, seen.d2h) == (0, 0, 0), seen
