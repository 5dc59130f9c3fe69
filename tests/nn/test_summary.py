"""Module.summary(): the numbers are PyTorch users' known ones, and nothing is left changed."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 120), nn.ReLU(),
                         nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def test_numbers_of_lenet():
    """44,426 parameters: LeNet-5 on 28x28 images with full connections."""
    table = lenet().summary((8, 1, 28, 28))
    assert (table.total, table.trainable, table.frozen) == (44426, 44426, 0)
    assert table.parameter_bytes == 4 * 44426 and table.buffer_bytes == 0
    shapes = {r.path: r.output_shape for r in table.rows}
    assert shapes[""] == (8, 10) and shapes["2"] == (8, 6, 12, 12) and shapes["3"] == (8, 16, 8, 8)
    assert {r.path: r.parameters for r in table.rows}["7"] == 256 * 120 + 120
    text = str(table)
    for part in ("Conv2d", "(8, 6, 24, 24)", "30,840", "44,426 trainable, 0 frozen", "177.70 kB"):
        assert part in text, text


def test_frozen_shared_and_buffers():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[0].requires_grad_(False)
    net[2].weight = net[0].weight
    table = net.summary()
    assert table.total == 9 + 3 + 6 + 3 and table.frozen == 12
    assert table.buffer_bytes == 2 * 12 + 8
    assert all(r.output_shape is None for r in table.rows)


def test_examples_of_other_kinds():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, index, x):
            return {"both": (self.table(index), x)}

    table = Two().summary(tg.zeros((2, 3), dtype="int64"), (2, 5))
    assert table.rows[0].output_shape == {"both": [(2, 3, 4), (2, 5)]}
    assert nn.Embedding(10, 4).summary((2, 3), dtype="int64").rows[0].output_shape == (2, 3, 4)
    assert nn.Linear(3, 2).summary(5, 3).rows[0].output_shape == (5, 2)


def test_nothing_is_left_changed():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + tg.randn(*x.shape)

    net = nn.Sequential(nn.BatchNorm1d(3), Noisy(), nn.Dropout(0.5), nn.Linear(3, 2))
    net[2].eval()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    stream = tg.random.get_state()
    net.summary((4, 3))
    with pytest.raises(ValueError):
        net.summary((4, 7))
    assert [m.training for m in net.modules()] == [True, True, True, False, True]
    assert tg.random.get_state() == stream
    assert all(np.array_equal(v.numpy(), before[k]) for k, v in net.state_dict().items())
    assert not any(m._hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
