"""Weight and spectral normalisation: the computations, and PyTorch's older, hook-made forms."""

from __future__ import annotations

import math
from typing import Any

from ... import ops
from ...autograd import no_grad
from ...primitive import primitive
from ...random import normal
from ...tensor import Tensor
from ..module import Module, Parameter

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]


# -- the computations ----------------------------------------------------------------------------


@primitive(outputs=2, differentiable=0)
def power_iteration(xp, w, u, v, *, steps, eps, u_first):
    """`steps` times, in place: v = unit(W^T u), u = unit(W v), or u first; copies of both.

    The vectors of the largest singular value are approached; unit(x) is x / max(|x|, eps).
    """
    def unit(x, out):
        xp.divide(x, xp.maximum(xp.linalg.norm(x), eps), out=out)

    for _ in range(steps):
        if u_first:
            unit(w @ v, u)
        unit(w.T @ u, v)
        if not u_first:
            unit(w @ v, u)
    return u.copy(), v.copy()
power_iteration.writes = (1, 2)


def iterate(w: Tensor, u: Tensor, v: Tensor, steps: int, eps: float,
            u_first: bool) -> tuple[Any, Any]:
    """`power_iteration` on buffers u and v: copies that later iterations do not touch."""
    with no_grad():
        copies = power_iteration(w, u, v, steps=steps, eps=eps, u_first=u_first)
    u.touch()
    v.touch()
    return copies


def largest_singular_value(w: Any, u: Any, v: Any) -> Any:
    """u^T W v, through which the gradient u v^T flows back to W."""
    return ops.sum(u * ops.matmul(w, v))


def as_matrix(weight: Any, dim: int) -> Any:
    """The weight as a matrix with one row per slice along `dim`."""
    if dim:
        weight = ops.moveaxis(weight, dim, 0)
    return ops.reshape(weight, (weight.shape[0], math.prod(weight.shape[1:])))


def random_unit(n: int, like: Tensor, eps: float) -> Tensor:
    """A random vector of length 1."""
    x = normal((n,), dtype=like.dtype, device=like.device)
    return x / ops.maximum(ops.sqrt(ops.sum(x * x)), eps)


def norm_except(v: Any, dim: int) -> Any:
    """The norm of every slice along `dim`, shaped to broadcast; of everything, 0-d, for -1."""
    if dim == -1:
        return ops.sqrt(ops.sum(v * v))
    axes = tuple(i for i in range(v.ndim) if i != dim)
    return ops.sqrt(ops.sum(v * v, axis=axes, keepdims=True))


def check_dim(op: str, weight: Any, dim: int | None) -> int:
    """The axis of weight normalisation; None, all axes together, is -1 as in PyTorch."""
    dim = -1 if dim is None else dim
    if dim != -1 and not 0 <= dim < weight.ndim:
        raise ValueError(f"[{op}] dim must be None, -1 (all axes) or one of the {weight.ndim} "
                         f"axes of the weight {tuple(weight.shape)}, got {dim}")
    return dim


def take_weight(module: Module, name: str, op: str) -> Parameter:
    """The parameter that is to be normalised."""
    if name not in module._parameter_names or getattr(module, name) is None:
        raise ValueError(f"[{op}] {type(module).__name__} has no parameter {name!r}; it has "
                         f"{list(module._parameter_names)}")
    return getattr(module, name)


def transposed(module: Module) -> bool:
    """Whether the layer's weight has its outputs along axis 1."""
    return any(cls.__name__.startswith("ConvTranspose") for cls in type(module).__mro__)


# -- hooks that run before forward ---------------------------------------------------------------


class _Rule:
    """A forward pre-hook that computes `module.name` anew for every call."""

    what = ""

    def __init__(self, name: str):
        self.name = name
        self.handle: Any = None

    def compute(self, module: Any, training: bool) -> Tensor:
        raise NotImplementedError

    def __call__(self, module: Module, args: Any) -> None:
        setattr(module, self.name, self.compute(module, module.training))

    def install(self, module: Module) -> None:
        for hook in module._pre_hooks.values():
            if isinstance(hook, type(self)) and hook.name == self.name:
                raise RuntimeError(f"[{self.what}] {self.name!r} of {type(module).__name__} has "
                                   "one already")
        self.handle = module.register_forward_pre_hook(self)

    @classmethod
    def remove(cls, module: Module, name: str) -> Module:
        for key, rule in list(module._pre_hooks.items()):
            if isinstance(rule, cls) and rule.name == name:
                with no_grad():
                    value = rule.compute(module, False).detach()
                delattr(module, name)
                for part in rule.parts():
                    delattr(module, part)
                module.register_parameter(name, Parameter(value))
                del module._pre_hooks[key]
                return module
        raise ValueError(f"[remove_{cls.what}] {name!r} of {type(module).__name__} has no "
                         f"{cls.what}")

    def parts(self) -> tuple[str, ...]:
        raise NotImplementedError


class _WeightNorm(_Rule):
    what = "weight_norm"

    def __init__(self, name: str, dim: int):
        super().__init__(name)
        self.dim = dim

    def compute(self, module: Any, training: bool) -> Tensor:
        g, v = (getattr(module, part) for part in self.parts())
        return v * (g / norm_except(v, self.dim))

    def parts(self) -> tuple[str, ...]:
        return f"{self.name}_g", f"{self.name}_v"


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replace a weight by its length g and its direction v: w = g v / |v|; returns the module.

    The parameters are `weight_g` and `weight_v`, the weight is computed before every forward.
    `dim` is the axis along which lengths are kept apart (None: one for all). PyTorch's newer
    form, with other state-dict keys, is `nn.utils.parametrizations.weight_norm`.

    Source: T. Salimans and D. Kingma, "Weight Normalization", NeurIPS 2016.
    """
    weight = take_weight(module, name, "weight_norm")
    rule = _WeightNorm(name, check_dim("weight_norm", weight, dim))
    rule.install(module)
    delattr(module, name)
    g, v = rule.parts()
    module.register_parameter(g, Parameter(norm_except(weight.detach(), rule.dim)))
    module.register_parameter(v, Parameter(weight.detach()))
    setattr(module, name, rule.compute(module, False))
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight one parameter again; returns the module."""
    return _WeightNorm.remove(module, name)


class _SpectralNorm(_Rule):
    what = "spectral_norm"

    def __init__(self, name: str, steps: int, dim: int, eps: float):
        super().__init__(name)
        self.steps, self.dim, self.eps = steps, dim, eps

    def compute(self, module: Any, training: bool) -> Tensor:
        weight, u, v = (getattr(module, part) for part in self.parts())
        matrix = as_matrix(weight, self.dim)
        if training:
            u, v = iterate(matrix, u, v, self.steps, self.eps, u_first=False)
        return weight / largest_singular_value(matrix, u, v)

    def parts(self) -> tuple[str, ...]:
        return f"{self.name}_orig", f"{self.name}_u", f"{self.name}_v"


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divide a weight by its largest singular value, before every forward; returns the module.

    The parameter is `weight_orig`; the buffers `weight_u` and `weight_v` approach the singular
    vectors, by `n_power_iterations` in every forward of training and by none in evaluation.
    `dim` is the axis of the outputs (by default 1 for transposed convolutions, else 0). PyTorch's
    newer form is `nn.utils.parametrizations.spectral_norm`.

    Source: T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    weight = take_weight(module, name, "spectral_norm")
    if n_power_iterations < 1:
        raise ValueError(f"[spectral_norm] n_power_iterations must be at least 1, got "
                         f"{n_power_iterations}")
    dim = int(transposed(module)) if dim is None else dim
    rule = _SpectralNorm(name, n_power_iterations, dim, eps)
    rule.install(module)
    rows, columns = as_matrix(weight.detach(), dim).shape
    delattr(module, name)
    original, u, v = rule.parts()
    module.register_parameter(original, weight)
    module.register_buffer(u, random_unit(rows, weight, eps))
    module.register_buffer(v, random_unit(columns, weight, eps))
    setattr(module, name, weight.detach())
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight one parameter again, as evaluation sees it; returns the module."""
    return _SpectralNorm.remove(module, name)
