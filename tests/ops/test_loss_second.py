"""Losses of nn.functional against PyTorch, to the second derivative of every argument."""

import numpy as np
import pytest

import tinygen as tg

from .against_torch import same, torch

RNG = np.random.default_rng(0)
X, T, N = RNG.standard_normal((3, 4, 3))
POSITIVE = np.abs(N) + 0.1
SIGNS = np.sign(N)
CLASSES = np.array([0, 2, 1, 2])
F = {"tg": tg.nn.functional, "torch": torch.nn.functional}

# name, what requires gradients, arguments after those, options
ROWS = [
    ("mse_loss", (X, T), (), {}),
    ("mse_loss", (X, T), (), {"weight": POSITIVE}),
    ("huber_loss", (X, T), (), {"delta": 0.7, "weight": POSITIVE}),
    ("smooth_l1_loss", (X, T), (), {"beta": 0.5}),
    ("l1_loss", (X, T), (), {"weight": POSITIVE}),
    ("kl_div", (X, T), (), {"log_target": True}),
    ("binary_cross_entropy", (RNG.uniform(0.05, 0.95, (4, 3)), RNG.random((4, 3))), (), {}),
    ("nll_loss", (X,), (CLASSES,), {"weight": POSITIVE[0], "ignore_index": 1}),
    ("cross_entropy", (X,), (CLASSES,), {"weight": POSITIVE[0], "label_smoothing": 0.1}),
    ("cross_entropy", (X, RNG.dirichlet(np.ones(3), 4)), (), {"weight": POSITIVE[0]}),
    ("linear_cross_entropy", (X, T), (CLASSES,), {"linear_bias": N[:, 0].copy()}),
    ("poisson_nll_loss", (X, 3 * POSITIVE), (), {"full": True}),
    ("gaussian_nll_loss", (X, T, POSITIVE), (), {"full": True}),
    ("soft_margin_loss", (X,), (SIGNS,), {}),
    ("hinge_embedding_loss", (X,), (SIGNS,), {"margin": 0.4}),
    ("margin_ranking_loss", (X, T), (SIGNS,), {"margin": 0.1}),
    ("cosine_embedding_loss", (X, T), (SIGNS[:, 0].copy(),), {"margin": -0.5}),
    ("multilabel_soft_margin_loss", (X,), ((T > 0) * 1.0,), {"weight": POSITIVE[0]}),
    ("triplet_margin_loss", (X, T, N), (), {"p": 3, "swap": True}),
    ("triplet_margin_with_distance_loss", (X, T, N), (), {}),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "floats", "others", "options"), ROWS)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_second_derivatives_are_torchs(name, floats, others, options, reduction):
    def call(library, tensor):
        after = [tensor(a) for a in others]
        how = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return lambda *xs: getattr(F[library], name)(*xs, *after, reduction=reduction, **how)
    same(call("tg", tg.Tensor), call("torch", torch.tensor), *floats)
