"""All adapters, and the ops that are not compared, each with its reason."""

from __future__ import annotations

from typing import Any

import tinygen as tg
from tests.suites.opinfo import networks, pointwise, products, reductions, shapes

ADAPTERS: dict[str, Any] = (pointwise.ADAPTERS | reductions.ADAPTERS | shapes.ADAPTERS
                            | products.ADAPTERS | networks.ADAPTERS)


def window(name: str) -> Any:
    def call(M: int, *, layout: Any = None, requires_grad: bool = False, **how: Any) -> Any:
        return getattr(tg.signal.windows, name)(M, **how)
    return call


WINDOWS = """bartlett blackman cosine exponential gaussian general_cosine general_hamming hamming
    hann kaiser nuttall"""
for _name in WINDOWS.split():
    ADAPTERS[f"signal.windows.{_name}"] = window(_name)


# -- what is not compared ------------------------------------------------------------------------

_RANDOM = "random: its values come from another generator; tests/engine/test_random.py"
_EMPTY = "its values are not defined"
_COMPLEX = "complex numbers are outside the engine"
_SPARSE = "sparse tensors are outside the engine"
_MASKED = "masked tensors are outside the engine: use where() and the nan-functions"
_INTERNAL = "internal form of an op that is compared under its public name"
_INFO = "returns a status instead of raising; tinygen raises"
_RESIZE = "changes the shape of a tensor in place: tensors do not"
_CUDA = "runs on CUDA only"
_POLYNOMIAL = "orthogonal polynomials: not offered, numpy.polynomial has them"
_LAPACK = "a factor in LAPACK's packed form: use the factorisation itself"

_GROUPS = {
    _RANDOM: """bernoulli cauchy exponential geometric log_normal multinomial normal
        normal/in_place normal/number_mean rand_like randint randint_like randn randn_like uniform
        nn.functional.alpha_dropout nn.functional.dropout nn.functional.dropout2d
        nn.functional.dropout3d nn.functional.feature_alpha_dropout/with_train
        nn.functional.feature_alpha_dropout/without_train nn.functional.rrelu
        nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d svd_lowrank
        pca_lowrank""",
    _EMPTY: "empty empty_like empty_permuted empty_strided new_empty new_empty_strided",
    _COMPLEX: """cdouble cfloat chalf complex imag polar view_as_complex view_as_real stft istft
        linalg.eig linalg.eigvals nn.functional.silu/complex""",
    _SPARSE: "to_sparse sparse.mm/reduce sparse.sampled_addmm",
    _INTERNAL: """_batch_norm_with_update _native_batch_norm_legit _softmax_backward_data
        _unsafe_masked_index _unsafe_masked_index_put_accumulate _upsample_bilinear2d_aa
        _chunk_cat _segment_reduce/lengths _segment_reduce/offsets native_batch_norm
        native_group_norm native_layer_norm native_dropout_backward grid_sampler_2d
        grid_sampler_3d max_pool2d_with_indices_backward hash_tensor
        torch.ops.aten._safe_softmax.default torch.ops.aten._flash_attention_forward
        torch.ops.aten._efficient_attention_forward as_strided/partial_views as_strided_scatter""",
    _INFO: "linalg.cholesky_ex linalg.inv_ex linalg.solve_ex linalg.lu_factor_ex",
    _LAPACK: "geqrf ormqr lu_unpack linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve lu",
    _RESIZE: "resize_ resize_as_",
    _CUDA: """bmm/triton_optimized jiterator_unary jiterator_binary
        jiterator_4inputs_with_extra_args jiterator_binary_return_by_ref
        jiterator_2inputs_2outputs nn.functional.batch_norm/without_cudnn torch._scaled_mm
        torch._scaled_mm_v2""",
    _POLYNOMIAL: """special.chebyshev_polynomial_t special.chebyshev_polynomial_u
        special.chebyshev_polynomial_v special.chebyshev_polynomial_w
        special.hermite_polynomial_h special.hermite_polynomial_he
        special.laguerre_polynomial_l special.legendre_polynomial_p
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w""",
}
NOT_COMPARED: dict[str, str] = {
    name: reason for reason, names in _GROUPS.items() for name in names.split()}
NOT_COMPARED |= {
    "bfloat16": "tests/engine/test_halves.py: PyTorch gives NumPy no array of it",
    "broadcast_shapes": "numpy.broadcast_shapes: shapes are plain tuples",
    "mode": "not offered: which of equally frequent values is meant is PyTorch's own choice",
    "unique_consecutive": "not offered: compare neighbours with diff()",
    "nonzero_static": "for compilers that need a fixed size: not offered",
    "unravel_index": "not offered: numpy.unravel_index",
    "special.airy_ai": "not offered: scipy.special has it",
    "nn.functional.multi_head_attention_forward": "its only sample draws dropout; "
                                                  "tests/nn compares it without",
    "triangular_solve": "deprecated form of linalg.solve_triangular",
}


# Forward is compared, the gradient is not.
OTHER_GRADIENTS: dict[str, str] = {
    "cholesky_inverse": "reads one triangle of the factor: the other has gradient 0 here, while "
                        "PyTorch gives what it would be if both were read",
    "cholesky_solve": "reads one triangle of the factor, as cholesky_inverse",
}


# Compared less strictly: PyTorch's own values are not exact.
LESS_EXACT: dict[str, float] = {
    **{f"special.bessel_{n}": 1e-4 for n in ("j0", "j1", "y0", "y1")},   # 3e-7 near x = 5
    "nn.functional.hardsigmoid": 1e-6,    # its gradient divides by a float32 constant
    "cov": 1e-3,   # float32 weights: what is left of their sum when it cancels differs
}


def not_compared(every: Any) -> dict[str, str]:
    """The table, with whole families of op_db spelled out."""
    families = {"fft.": _COMPLEX, "masked.": _MASKED}
    return NOT_COMPARED | {name: reason for name in every for prefix, reason in families.items()
                           if name.startswith(prefix)}
