"""What other libraries call it, and what to write here: the hints of `AttributeError`.

A name that tinygen does not have is looked up in three places: this table, tinygen's own
namespaces (`lgamma` is `tinygen.special.lgamma`), and names that are spelled almost alike.
"""

from __future__ import annotations

import difflib
import importlib
import re
from typing import Any

__all__ = ["hint", "method_hint"]

# PyTorch, NumPy, Keras or JAX name -> the same in tinygen.
WORDS = {
    "cat": "concat(xs, axis=...)", "unsqueeze": "expand_dims(x, axis)",
    "clamp": "clip(x, min, max)",
    "permute": "permute_dims(x, axes)", "view": "reshape(x, shape)", "mm": "matmul(a, b)",
    "bmm": "matmul(a, b)", "mv": "matmul(a, v)", "gather": "take_along_axis(x, indices, axis)",
    "sub": "subtract(x, y)", "rsub": "subtract(y, x)", "mul": "multiply(x, y)",
    "div": "divide(x, y)", "neg": "negative(x)", "eq": "equal(x, y)", "ne": "not_equal(x, y)",
    "lt": "less(x, y)", "le": "less_equal(x, y)", "gt": "greater(x, y)",
    "ge": "greater_equal(x, y)", "chunk": "array_split(x, parts, axis)",
    "tensor_split": "array_split(x, parts, axis)", "split_with_sizes": "split(x, indices, axis)",
    "hsplit": "split(x, parts, 1)", "unbind": "unstack(x, axis)", "movedim": "moveaxis(x, a, b)",
    "swapdims": "swapaxes(x, a, b)", "adjoint": "matrix_transpose(x)", "t": "transpose(x)",
    "as_tensor": "asarray(data)", "array": "Tensor(data)", "asanyarray": "asarray(data)",
    "ascontiguousarray": "asarray(data)", "scalar_tensor": "Tensor(number)", "clone": "positive(x)",
    "copy": "positive(x)", "detach": "Tensor.detach(x)", "numel": "Tensor.numel(x)",
    "size": "Tensor.size", "ndim": "Tensor.ndim", "shape": "Tensor.shape",
    "is_tensor": "Tensor with isinstance(x, tinygen.Tensor)",
    "is_floating_point": "Tensor.is_floating_point(x)", "range": "arange(start, stop + step, step)",
    "repeat_interleave": "repeat(x, repeats, axis)", "ger": "outer(a, b)",
    "take_along_dim": "take_along_axis(x, indices, axis)",
    "narrow": "getitem: x[:, start:start + length]", "masked_select": "getitem: x[mask]",
    "index_select": "take(x, indices, axis)", "index_put": "put_index(x, index, value)",
    "select_scatter": "put_index(x, index, value)", "slice_scatter": "put_index(x, index, value)",
    "diagonal_scatter": "put_index(x, index, value)", "choose": "take_along_axis(x, indices, axis)",
    "put": "put_index(x, index, value)", "place": "put_index(x, mask, values)",
    "putmask": "where(mask, values, x)", "copyto": "where(mask, values, x)",
    "fill_diagonal": "put_index(x, diag_indices(n), value)",
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32",
    "randint": "random.randint(...)", "randperm": "random.permutation(n)",
    "rand_like": "rand(x.shape)", "randn_like": "randn(x.shape)",
    "randint_like": "random.randint(low, high, x.shape)", "bernoulli": "random.bernoulli(p)",
    "normal": "random.normal(shape)", "seed": "manual_seed(n)", "initial_seed": "manual_seed(n)",
    "get_rng_state": "Generator with generator.get_state()",
    "set_rng_state": "Generator with generator.set_state(state)",
    "norm": "linalg.norm(x)", "dist": "linalg.norm(x - y)", "inverse": "linalg.inv(x)",
    "pinverse": "linalg.pinv(x)", "chain_matmul": "linalg.multi_dot([a, b, c])",
    "nuclear_norm": "linalg.norm(x, 'nuc')", "frobenius_norm": "linalg.norm(x)",
    "lstsq": "linalg.lstsq(a, b)", "symeig": "linalg.eigh(x)", "eig": "linalg.eigh(x): only the "
    "symmetric problem has real results", "triangular_solve": "linalg.solve_triangular(a, b)",
    "renorm": "linalg.vector_norm and multiply", "addmm": "matmul: beta * x + alpha * (a @ b)",
    "addbmm": "matmul: beta * x + alpha * (a @ b).sum(0)", "addmv": "matmul: x + a @ v",
    "addr": "outer: x + outer(a, b)", "baddbmm": "matmul: beta * x + alpha * (a @ b)",
    "addcmul": "Tensor.addcmul(x, a, b)", "addcdiv": "Tensor.addcdiv(x, a, b)",
    "kthvalue": "sort(x, axis)[k - 1]", "msort": "sort(x, 0)", "mode": "bincount(x).argmax()",
    "histc": "histogram(x, bins, (low, high))", "histogram2d": "histogramdd(points)",
    "histogram_bin_edges": "histogram(x, bins)", "var_mean": "var(x) and mean(x)",
    "std_mean": "std(x) and mean(x)", "apply_along_axis": "stack([f(row) for row in x])",
    "vectorize": "stack([f(x) for x in xs]), or array expressions",
    "vmap": "stack([f(row) for row in x])",
    "nan_to_num_": "nan_to_num(x)",
    "intersect1d": "isin(x, y), then x[...]", "setdiff1d": "isin(x, y, invert=True), then x[...]",
    "union1d": "unique_values(concat([x, y]))", "setxor1d": "unique_counts(concat([x, y]))",
    "lexsort": "argsort(x), stable, once per key", "sort_complex": "sort(x)",
    "unique_consecutive": "diff(x) to find the places", "tril_indices_from": "tril_indices(n)",
    "triu_indices_from": "triu_indices(n)", "diag_indices_from": "diag_indices(n)",
    "indices": "meshgrid(*ranges, indexing='ij')", "fromfunction": "meshgrid and arithmetic",
    "ix_": "meshgrid(i, j, indexing='ij')", "bartlett_window": "signal.windows.bartlett(M)",
    "blackman_window": "signal.windows.blackman(M)", "hann_window": "signal.windows.hann(M)",
    "hamming_window": "signal.windows.hamming(M)", "kaiser_window": "signal.windows.kaiser(M)",
    "stft": "signal.stft(x), of NumPy arrays", "istft": "signal.istft(x), of NumPy arrays",
    "hanning": "signal.windows.hann(M)", "row_indices": "tril_indices(n)",
    "Variable": "Tensor", "Module": "nn.Module", "functional": "nn.functional",
    "GradientTape": "grad or backward()", "inference_mode": "no_grad()",
    "set_default_dtype": "Tensor(..., dtype=...): float32 is the default everywhere",
    "set_num_interop_threads": "set_num_threads(n): operations run one after another",
    "get_num_interop_threads": "get_num_threads(): operations run one after another",
    "use_deterministic_algorithms": "manual_seed(n): all algorithms are deterministic",
    "set_printoptions": "Tensor.numpy() with numpy.set_printoptions",
    "from_file": "asarray(numpy.memmap(...))", "frombuffer": "asarray(numpy.frombuffer(...))",
    "savez": "save(state, path)", "savetxt": "save(state, path)", "loadtxt": "asarray(numpy...)",
    "unravel_index": "asarray(numpy.unravel_index(...))", "vdot": "dot(a, b)",
    "Sequential": "nn.Sequential(...)", "layers": "nn", "keras": "nn", "losses": "nn",
    "optimizers": "optim", "Input": "nn.Sequential: shapes are found when data comes",
}

# What has no counterpart, and why.
OUTSIDE = [
    (r"(complex|cfloat|cdouble|chalf|imag|real|polar|conj|angle|view_as_(real|complex)|stft|istft"
     r"|fft|resolve_(conj|neg)|is_conj|is_neg)", "numbers are real here"),
    (r"(quant|fake_|fbgemm|int_repr|dequantize|q_)", "there are no quantised tensors"),
    (r"(sparse|spmm|smm|hspmm|dsmm|hsmm|saddmm|sspaddmm|crow_|ccol_|coalesce|to_dense|to_mkldnn)",
     "there are no sparse tensors"),
    (r"(cudnn|miopen|mkldnn|xpu|mps|hpu|ipu|vulkan|meta$)", "it names another library's backend"),
    (r"^compile$", "use tinygen.jit"),
    (r"(autocast|amp$)", "mixed precision: tinygen.autocast and tinygen.GradScaler"),
    (r"(as_strided|resize|set_$|storage|stride|layout|pin_memory|share_memory|data_ptr)",
     "how a tensor lies in memory is its array's own affair: x.data"),
]

_SPACES = ("nn.functional", "linalg", "special", "random", "signal.windows", "nn", "optim",
           "distributions", "data", "text")


def _elsewhere(name: str) -> str | None:
    """Where in tinygen the name is defined, if it is."""
    for space in _SPACES:
        try:
            module = importlib.import_module(f"tinygen.{space}")
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("tinygen"):
                continue       # an optional package of that module is not installed
            continue
        if name in dir(module):
            return f"{space}.{name}"
    return None


def _plain(name: str) -> str:
    """How a function that changes nothing in place is written here."""
    import tinygen
    if name in vars(tinygen):
        return f"tinygen.{name}"
    return f"tinygen.{WORDS[name].split('(')[0] if name in WORDS else _elsewhere(name) or name}"


def _outside(name: str) -> str | None:
    for pattern, reason in OUTSIDE:
        if re.search(pattern, name):
            return reason
    return None


def hint(name: str) -> str:
    """The message for a name that `tinygen` does not have."""
    from .tensor import Tensor
    if name in WORDS:
        return f"tinygen has no {name!r}; use tinygen.{WORDS[name]}"
    place = _elsewhere(name)
    if place is not None:
        return f"tinygen has no {name!r}; use tinygen.{place}"
    if name in Tensor.__dict__ and not name.startswith("__"):
        return f"tinygen has no {name!r}; use the method x.{name}(...)"
    import tinygen
    if name.endswith("_") and (name[:-1] in vars(tinygen) or _elsewhere(name[:-1])
                               or name[:-1] in WORDS or name[:-1] in Tensor.__dict__):
        return f"tinygen has no {name!r}: it gives new tensors; use x = {_plain(name[:-1])}(x, ...)"
    reason = _outside(name)
    if reason is not None:
        return f"tinygen has no {name!r}: {reason}"
    return f"module 'tinygen' has no attribute {name!r}{_close(name, list(vars(tinygen)))}"


def method_hint(name: str) -> str:
    """The message for an attribute that a Tensor does not have."""
    import tinygen

    from .tensor import Tensor
    if not name.startswith("_"):
        public = vars(tinygen).get(name)
        if callable(public):
            return f"Tensor has no attribute {name!r}; use tinygen.{name}(x, ...)"
        if name in WORDS:
            return f"Tensor has no attribute {name!r}; use tinygen.{WORDS[name]}"
        place = _elsewhere(name)
        if place is not None:
            return f"Tensor has no attribute {name!r}; use tinygen.{place}(x, ...)"
        if name.endswith("_") and (name[:-1] in Tensor.__dict__ or name[:-1] in vars(tinygen)):
            return (f"Tensor has no attribute {name!r}: it does not change in place; use "
                    f"x = tinygen.{name[:-1]}(x, ...) or x.assign_(...)")
        reason = _outside(name)
        if reason is not None:
            return f"Tensor has no attribute {name!r}: {reason}"
    return f"Tensor has no attribute {name!r}{_close(name, dir(Tensor))}"


def _close(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return f"; did you mean {close[0]!r}?" if close else ""
