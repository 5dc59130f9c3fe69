"""Distribution: what all distributions share: shapes, checks, `expand`, sampling."""

from __future__ import annotations

import math
from functools import cached_property, wraps
from typing import Any, ClassVar

import numpy as np

from ..grad_mode import enable_grad, no_grad
from ..ops import exp, full, sqrt
from ..ops.shape import as_shape, broadcast_to
from ..tensor import Tensor
from . import constraints

__all__ = ["Distribution", "broadcast_all", "lazy", "sum_rightmost"]


def broadcast_all(*values: Any) -> list[Tensor]:
    """Parameters as tensors of one shape and floating type; numbers take that of the tensors."""
    made = [v if isinstance(v, Tensor) else None if isinstance(v, (int, float)) else Tensor(v)
            for v in values]
    kinds = [t.dtype for t in made if t is not None and t.dtype.kind in "fV"]
    kind = max(kinds, key=lambda k: k.itemsize, default=np.dtype(np.float32))
    device = next((t.device for t in made if t is not None), None)
    tensors = [full((), v, kind, device) if t is None
               else t if t.dtype == kind else t.astype(kind)
               for v, t in zip(values, made, strict=True)]
    shape = np.broadcast_shapes(*(t.shape for t in tensors))
    return [t if t.shape == shape else broadcast_to(t, shape) for t in tensors]


class lazy(cached_property):
    """A property that is computed once, with its graph: a first look inside `sample` counts too."""

    def __init__(self, fn: Any):
        @wraps(fn)
        def recorded(self: Any) -> Any:
            with enable_grad():
                return fn(self)
        super().__init__(recorded)


def sum_rightmost(x: Tensor, n: int) -> Tensor:
    """The sum over the last n axes."""
    return x.sum(axis=tuple(range(x.ndim - n, x.ndim))) if n else x


class Distribution:
    """A probability distribution, or a batch of them.

    A sample of `sample(sample_shape)` has the shape sample_shape + batch_shape + event_shape:
    independent draws, then the batch of distributions, then the axes of one value.

    Args:
        validate_args: check parameters and values (default: True, or what
            `Distribution.set_default_validate_args` says).
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support: Any = constraints.real
    # parameters whose values are vectors or matrices -> how many axes one value has
    _event_ndims: ClassVar[dict[str, int]] = {}
    _default_validate = True

    def __init__(self, batch_shape: Any = (), event_shape: Any = (),
                 validate_args: bool | None = None):
        self._batch_shape = tuple(as_shape(batch_shape))
        self._event_shape = tuple(as_shape(event_shape))
        self._validate_args = (Distribution._default_validate if validate_args is None
                               else validate_args)
        if self._validate_args:
            self._check_parameters()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments unless told otherwise."""
        if value not in (True, False):
            raise ValueError(f"[set_default_validate_args] value must be a bool, got {value!r}")
        Distribution._default_validate = bool(value)

    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            value = self.__dict__.get(name)
            if value is None or constraints.is_dependent(constraint):
                continue
            ok = constraint.check(value)
            if ok.device == "cpu" and not bool(ok.data.all()):     # a GPU is not waited for
                raise ValueError(f"[{type(self).__name__}] {name}: every value must satisfy "
                                 f"{constraint!r}, got {value!r}")

    # -- shapes ---------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> tuple[int, ...]:
        return tuple(as_shape(sample_shape)) + self._batch_shape + self._event_shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its batch axes broadcast to `batch_shape`."""
        batch = tuple(as_shape(batch_shape))
        new = object.__new__(type(self))
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                own = self._event_ndims.get(name, 0)
                value = broadcast_to(value, batch + value.shape[value.ndim - own:])
            elif isinstance(value, Distribution):
                value = value.expand(batch + value.batch_shape[len(self._batch_shape):])
            new.__dict__[name] = value
        new._batch_shape = batch
        return new

    # -- what a distribution may define -----------------------------------------------------------

    def _missing(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"[{type(self).__name__}] has no {what}")

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise self._missing("mean")

    @property
    def mode(self) -> Tensor:
        """The most likely value."""
        raise self._missing("mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise self._missing("variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return sqrt(self.variance)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Values drawn from the default generator, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def sample_n(self, n: int) -> Tensor:
        """`sample((n,))`."""
        return self.sample((n,))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Values whose gradients flow to the parameters (where `has_rsample` is true)."""
        raise self._missing("rsample: its samples have no gradient to the parameters")

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density (or of the probability, of discrete ones) at `value`."""
        raise self._missing("log_prob")

    def cdf(self, value: Any) -> Tensor:
        """The probability of values up to `value`."""
        raise self._missing("cdf")

    def icdf(self, value: Any) -> Tensor:
        """The quantile: the inverse of `cdf`."""
        raise self._missing("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution along a new first axis."""
        raise self._missing("enumerate_support")

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        raise self._missing("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return exp(self.entropy())

    # -- helpers for subclasses -------------------------------------------------------------------

    def _value(self, value: Any) -> Tensor:
        """`value` as a tensor, checked against the shapes and the support."""
        name = type(self).__name__
        if not isinstance(value, Tensor):
            value = Tensor(value)
        if not self._validate_args:
            return value
        n = len(self._event_shape)
        if n and value.shape[max(0, value.ndim - n):] != self._event_shape:
            raise ValueError(f"[{name}] value has shape {value.shape}; its last axes must be the "
                             f"event_shape {self._event_shape}")
        try:
            np.broadcast_shapes(value.shape, self._batch_shape + self._event_shape)
        except ValueError:
            raise ValueError(f"[{name}] value has shape {value.shape}, which does not broadcast "
                             f"with batch_shape + event_shape "
                             f"{self._batch_shape + self._event_shape}") from None
        ok = self.support.check(value)
        if ok.device == "cpu" and not bool(ok.data.all()):         # a GPU is not waited for
            raise ValueError(f"[{name}] value must lie within the support {self.support!r}, got "
                             f"{value!r}")
        return value

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        """(n,) values in the shape (n, 1, ...) or (n, *batch_shape)."""
        out = values.reshape((-1,) + (1,) * len(self._batch_shape))
        return broadcast_to(out, (out.shape[0], *self._batch_shape)) if expand else out

    def __repr__(self) -> str:
        shown = []
        for name in self.arg_constraints:
            value = self.__dict__.get(name)
            if isinstance(value, Tensor):
                shown.append(f"{name}: {value.item() if value.size == 1 else value.shape}")
        return f"{type(self).__name__}({', '.join(shown)})"


LOG_2PI = math.log(2 * math.pi)
