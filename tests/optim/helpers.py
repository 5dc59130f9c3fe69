"""What the tests of optimizers share: parameters, random steps, one maker per kind of optimizer."""

import numpy as np

import tinygen as tg
from tinygen import optim

SHAPES = [(3, 2), (4,), (), (5, 1, 2), (0, 3), (4100,), (3, 1400)]   # small ones are packed

# Elementwise rules with every piece of state that they can keep.
MAKERS = {
    "SGD": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "RMSprop": lambda ps: optim.RMSprop(ps, centered=True, momentum=0.9, maximize=True),
    "Adam": lambda ps: optim.Adam(ps, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda ps: optim.AdamW(ps),
    "Adagrad": lambda ps: optim.Adagrad(ps, lr_decay=0.1, weight_decay=0.1, maximize=True),
    "Adadelta": lambda ps: optim.Adadelta(ps, weight_decay=0.1, maximize=True),
    "Adamax": lambda ps: optim.Adamax(ps, weight_decay=0.1, maximize=True),
    "NAdam": lambda ps: optim.NAdam(ps, weight_decay=0.1, decoupled_weight_decay=True),
    "RAdam": lambda ps: optim.RAdam(ps, betas=(0.9, 0.5), weight_decay=0.1, maximize=True),
    "ASGD": lambda ps: optim.ASGD(ps, t0=1, lambd=0.1, weight_decay=0.1, maximize=True),
    "Rprop": lambda ps: optim.Rprop(ps, maximize=True),
    "Lion": lambda ps: optim.Lion(ps, lr=0.01, weight_decay=0.1, maximize=True),
}


def arrays(seed, shapes=SHAPES, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s)).astype(dtype) for s in shapes]


def leaves(values):
    return [tg.Tensor(v, requires_grad=True) for v in values]


def give(params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else tg.Tensor(g)


def walk(optimizer, params, seed, steps):
    """Steps with random gradients of the parameters' dtype."""
    for t in range(steps):
        give(params, arrays(seed + t, [p.shape for p in params], params[0].dtype))
        optimizer.step()


def values(params):
    return [p.data.copy() for p in params]


def assert_same(ours, others):
    for a, b in zip(ours, others, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
