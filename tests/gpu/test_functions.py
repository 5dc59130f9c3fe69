"""Functions that are made of several operations, on the double: the CPU's results, on the device.

Their tables (places of a diagonal, windows, weights of a filter) are made on the host; each call is
made twice, and the second one must find them on the device already.
"""

import numpy as np
import pytest

import tinygen as tg
from tests.doubles.counting import counted
from tinygen import linalg
from tinygen.nn import functional as F

KERNELS = False

_rng = np.random.default_rng(0)
A, V = _rng.standard_normal((3, 4)), _rng.standard_normal(5)
B = _rng.standard_normal((4, 4))
S = B @ B.T + 4 * np.eye(4)
IMAGES = _rng.standard_normal((2, 3, 6, 6))
I, M = np.array([2, 0, 1, 1]), A > 0
ROW, COLUMN = np.array([[0, 1, 2, 0]]), np.array([[1], [0], [2]])

# What has to know values on the host waits; the others do not.
WAITS = {
    "argwhere": lambda t: tg.argwhere(t(M)), "nonzero": lambda t: tg.nonzero(t(M)),
    "compress": lambda t: tg.compress(t(np.array([True, False, True])), t(A), 0),
    "extract": lambda t: tg.extract(t(M), t(A)), "unique": lambda t: tg.unique(t(I), True, True),
    "unique_all": lambda t: tg.unique_all(t(I)), "bincount": lambda t: tg.bincount(t(I)),
    "repeat each": lambda t: tg.repeat(t(A), t(np.array([1, 2, 0])), 0),
    "masked_scatter": lambda t: tg.masked_scatter(t(A), t(M), t(np.arange(12.0))),
    "matrix_exp": lambda t: linalg.matrix_exp(t(B)),
    "allclose": lambda t: tg.allclose(t(A), t(A)),
    "ctc": lambda t: F.ctc_loss(tg.log_softmax(t(IMAGES[:, :, :, 0].transpose(2, 0, 1)), -1),
                                t(np.array([[1, 2], [2, 1]])), [6, 6], [2, 2]),
    "multilabel": lambda t: F.multilabel_margin_loss(t(A), t(np.array([[0, 1, -1, 2]] * 3))),
}
CALLS = {
    "delete": lambda t: tg.delete(t(V), [1, 2]), "insert": lambda t: tg.insert(t(V), 1, t(V[:1])),
    "tril": lambda t: tg.tril(t(B)), "diag": lambda t: tg.diag(t(V)),
    "diagonal": lambda t: tg.diagonal(t(B)), "trace": lambda t: tg.trace(t(B)),
    "diag_embed": lambda t: tg.diag_embed(t(A)), "vander": lambda t: tg.vander(t(V), 3),
    "block_diag": lambda t: tg.block_diag(t(A), t(B)), "kron": lambda t: tg.kron(t(A), t(B)),
    "corrcoef": lambda t: tg.corrcoef(t(A)), "repeat": lambda t: tg.repeat(t(A), [1, 2, 0], 0),
    "quantile": lambda t: tg.quantile(t(A), [0.1, 0.5], axis=1),
    "percentile": lambda t: tg.percentile(t(V), 30), "median": lambda t: tg.median(t(A)),
    "nanmedian": lambda t: tg.nanmedian(t(A)),
    "digitize": lambda t: tg.digitize(t(V), t(np.sort(V))),
    "cummax": lambda t: tg.cummax(t(A), 1), "cummax of one": lambda t: tg.cummax(t(V[0])),
    "sum so far": lambda t: tg.cumulative_sum(t(A), axis=0, include_initial=True),
    "gradient": lambda t: tg.gradient(t(V), 0.5), "diff": lambda t: tg.diff(t(A)),
    "trapezoid": lambda t: tg.cumulative_trapezoid(t(A), initial=0.0),
    "convolve": lambda t: tg.convolve(t(V), t(V[:3])),
    "correlate": lambda t: tg.correlate(t(V), t(V[:3])),
    "interp": lambda t: tg.interp(t(V), t(np.arange(5.0)), t(V)),
    "logcumsumexp": lambda t: tg.logcumsumexp(t(A), 1), "cond": lambda t: linalg.cond(t(S), 1),
    "lstsq": lambda t: linalg.lstsq(t(S), t(A.T)),
    "solve": lambda t: linalg.solve(t(S), t(A.T)), "inv": lambda t: linalg.inv(t(S)),
    "cholesky": lambda t: linalg.cholesky(t(S)), "slogdet": lambda t: linalg.slogdet(t(S)),
    "qr": lambda t: linalg.qr(t(B)), "lu": lambda t: linalg.lu(t(B)),
    "pinv": lambda t: linalg.pinv(t(A)), "rank": lambda t: linalg.matrix_rank(t(A)),
    "nuclear norm": lambda t: linalg.norm(t(A), "nuc"), "sort": lambda t: tg.sort(t(A)),
    "topk": lambda t: tg.topk(t(A), 2), "argsort": lambda t: tg.argsort(t(A), descending=True),
    "scatter": lambda t: tg.scatter(t(B), t(ROW), t(A[:1]), 0),
    "scatter_add": lambda t: tg.scatter_add(t(B), t(ROW), t(A[:1]), 0),
    "products": lambda t: tg.scatter_reduce(t(B), t(ROW), t(A[:1]), 0, "prod"),
    "largest": lambda t: tg.scatter_reduce(t(B), t(ROW), t(A[:1]), 0, "amax", False),
    "sums of integers": lambda t: tg.scatter_add(t(np.arange(16).reshape(4, 4) - 9), t(ROW),
                                                 t(ROW - 5), 0),
    "largest integers": lambda t: tg.scatter_reduce(t(np.arange(16).reshape(4, 4) - 9), t(ROW),
                                                    t(ROW * 9 - 5), 0, "amax"),
    "index_add": lambda t: tg.index_add(t(B), t(I[2:]), t(B[:2])),
    "index_fill": lambda t: tg.index_fill(t(B), t(I[:2]), 7.0),
    "index_copy": lambda t: tg.index_copy(t(B), t(I[:2]), t(B[:2])),
    "put_along_axis": lambda t: tg.put_along_axis(t(A), t(COLUMN), t(A[:, :1]), 1),
    "take_along_axis": lambda t: tg.take_along_axis(t(A), t(COLUMN), 1),
    "roll": lambda t: tg.roll(t(A), 1), "pad": lambda t: tg.pad(t(A), 1, mode="reflect"),
    "meshgrid": lambda t: tg.meshgrid(t(V), t(V)), "isin": lambda t: tg.isin(t(I), t(I[:1])),
    "windows": lambda t: tg.sliding_window_view(t(V), 3),
    "combinations": lambda t: tg.combinations(t(V), 2),
    "linspace": lambda t: tg.linspace(t(V[0]), t(V[1]), 5), "std": lambda t: tg.std(t(A), axis=0),
    "average": lambda t: tg.average(t(A), axis=0, weights=t(V[:3])),
    "einsum": lambda t: tg.einsum("ij,jk,ik->k", t(A), t(B), t(A)),
    "one_hot": lambda t: F.one_hot(t(I), 3), "info_nce": lambda t: F.info_nce(t(A), t(A)),
    "nt_xent": lambda t: F.nt_xent(t(A), t(A)), "clip_loss": lambda t: F.clip_loss(t(A), t(A)),
    "ssim": lambda t: F.ssim(t(IMAGES), t(IMAGES[::-1]), window_size=5),
    "affine_grid": lambda t: F.affine_grid(t(np.eye(3)[None, :2]), (1, 1, 3, 3),
                                           align_corners=False),
    "grid_sample": lambda t: F.grid_sample(t(IMAGES), t(np.tanh(IMAGES[:, :2].transpose(
        0, 2, 3, 1))), align_corners=False),
    "bilinear": lambda t: F.interpolate(t(IMAGES), scale_factor=2, mode="bilinear"),
    "bicubic": lambda t: F.interpolate(t(IMAGES), size=(4, 5), mode="bicubic"),
    "nearest": lambda t: F.interpolate(t(IMAGES), scale_factor=2),
    "adaptive means": lambda t: F.adaptive_avg_pool2d(t(IMAGES), (3, 2)),
    "adaptive maxima": lambda t: F.adaptive_max_pool2d(t(IMAGES), (3, 2)),
    "unfold": lambda t: F.unfold(t(IMAGES), 3), "lp_pool": lambda t: F.lp_pool2d(t(IMAGES), 2, 2),
    "unpool": lambda t: F.max_unpool2d(*F.max_pool2d(t(IMAGES), 2, return_indices=True), 2),
    "rotary": lambda t: F.rotary_embedding(t(IMAGES)),
    "alibi": lambda t: F.alibi_bias(2, 4, device=t(A).device),
    "multi_margin": lambda t: F.multi_margin_loss(t(A), t(I[:3])),
    "bag of means": lambda t: F.embedding_bag(t(I), t(A), t(np.array([0, 2]))),
    "bag of maxima": lambda t: F.embedding_bag(t(I), t(A), t(np.array([0, 2])), mode="max"),
    "cross_entropy": lambda t: F.cross_entropy(t(A), t(np.array([0, 3, -100])), t(V[:4] ** 2),
                                               label_smoothing=0.1),
    "gaussian_nll": lambda t: F.gaussian_nll_loss(t(A), t(A + 1), t(A * A)),
    "set a column": lambda t: with_item(t(A), (slice(None), 1), 0.0),
    "set by a mask": lambda t: with_item(t(A), t(M), 0.0),
    "set rows": lambda t: with_item(t(A), t(I[:2]), t(A[:2])),
}


def with_item(x, index, value):
    x[index] = value
    return x


def arrays(found):
    return [y for x in found for y in arrays(x)] if isinstance(found, (tuple, list)) else [found]


@pytest.mark.parametrize("name", [*CALLS, *WAITS])
def test_results_are_those_of_the_cpu_on_the_device(name):
    call = {**CALLS, **WAITS}[name]
    made = []

    def there(x):
        made.append(x)
        return tg.Tensor(x, device="cuda")
    expected = arrays(call(tg.Tensor))
    call(there)
    made.clear()
    with counted() as seen:
        found = arrays(call(there))
    for y, r in zip(found, expected, strict=True):
        if not isinstance(r, tg.Tensor):
            assert y == r
            continue
        assert (y.device, y.dtype, y.shape) == ("cuda:0", r.dtype, r.shape)
        np.testing.assert_allclose(y.cpu().numpy(), r.numpy(), rtol=1e-9, atol=1e-11)
    if name in CALLS:
        assert (seen.syncs, seen.d2h, seen.h2d) == (0, 0, len(made)), seen
    else:
        assert seen.syncs > 0
