"""The memory order of images is carried in strides: which rows copy from one order to another.

Convolutions choose the order of what they make. Norms, activations, sums and their gradients keep
it; a `reshape` between images and rows of numbers is where channels-last memory is given up.
"""

import numpy as np
import pytest

import tinygen as tg
from tests.jit.parts import square_step
from tinygen import nn, optim
from tinygen.jit import capture
from tinygen.jit.passes.together import has_kernel

pytestmark = pytest.mark.skipif(has_kernel() is None, reason="NumPy's convolutions are in C order")
F = nn.functional
LAST = (0, 2, 3, 1)


def discriminator():
    return nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2),
                         nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32),
                         nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32 * 16, 1)), (64, 3, 16, 16)


class Generator(nn.Module):
    """Rows of numbers to images, as a DCGAN's generator and a VAE's decoder do."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 32 * 16)
        self.rest = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU(),
                                  nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False),
                                  nn.BatchNorm2d(16), nn.ReLU(),
                                  nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.Tanh())

    def forward(self, z):
        return self.rest(self.first(z).reshape(-1, 32, 4, 4))


class Residual(nn.Module):
    """A ResNet's block: two convolutions, and a sum with what goes past them."""

    def __init__(self, channels):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(channels), nn.ReLU(),
                                   nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                                   nn.InstanceNorm2d(channels))

    def forward(self, x):
        return F.relu(x + self.inner(x))


def chain():
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Residual(16), Residual(16),
                         nn.Conv2d(16, 16, 3, 2, 1)), (64, 3, 16, 16)


def autoencoder():
    return nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1),
                         nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 6),
                         Generator()), (64, 1, 16, 16)


# name: model, how many reshapes copy forwards (from images to rows of numbers)
MODELS = {"dcgan-d": (discriminator, 1), "dcgan-g": (lambda: (Generator(), (64, 6)), 0),
          "conv-vae": (autoencoder, 1), "resnet": (chain, 0)}


def order(array):
    """The axes from the one with the longest steps in memory to the one with the shortest."""
    axes = [(-abs(step), k) for k, (step, n) in enumerate(zip(array.strides, array.shape,
                                                              strict=True)) if n > 1]
    return tuple(k for _, k in sorted(axes))


def images(arrays):
    return [a for a in arrays if isinstance(a, np.ndarray) and a.ndim == 4]


def traced(program, x):
    """Each row with the arrays that it reads and makes in a replay, and the reshapes in it that
    read an image in channels-last memory and make rows of numbers: those have to copy."""
    values = {program.inputs[0]: x}
    for row in program.rows:
        read = [values[s] if isinstance(s, int) else s.now() for s in row.inputs]
        with tg.no_grad():
            made = row.op(*read, **row.attrs)
        made = made if isinstance(made, tuple) else (made,)
        copies = [p for p in row.parts or (row,) if p.op.name == "reshape" and any(
            order(values[s].data) == LAST for s in p.slots() if s in values)]
        values |= {s: y for s, y in zip(row.outputs, made, strict=True) if s is not None}
        yield (row, [y.data for y in read if isinstance(y, tg.Tensor)],
               [y.data for y in made if y is not None], len(copies))


def step_of(name):
    tg.manual_seed(0)
    model, shape = MODELS[name][0]()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = tg.Tensor(np.random.default_rng(0).standard_normal(shape).astype("f"))
    return capture(square_step(model, optimizer), x), x


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_only_a_flatten_copies_from_one_order_to_another(name, fuse):
    program, x = step_of(name)
    carried = flattened = 0
    for row, read, made, copies in traced(program.optimized(fuse), x):
        flattened += copies
        if row.op.name.startswith("conv") or row.op.writes:     # its own choice; weights
            continue
        if row.op.name == "reshape":
            assert np.shares_memory(read[0], made[0]) != bool(copies), row
            continue
        known = {order(a) for a in images(read)}
        carried += known == {LAST}
        assert not known or all(order(y) in known for y in images(made)), row
    assert flattened == MODELS[name][1]
    assert carried >= 2             # rows that read nothing but channels-last images, and keep that


def test_the_check_sees_a_row_that_copies():
    def f(x):
        return F.conv2d(x, tg.ones((16, 3, 3, 3))).reshape(8, -1) * 2
    x = tg.ones((8, 3, 16, 16))
    assert sum(copies for *_, copies in traced(capture(f, x), x)) == 1
