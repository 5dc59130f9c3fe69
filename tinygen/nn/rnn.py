"""Recurrent layers over whole sequences: RNN, LSTM and GRU."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import numpy as np

from .. import ops
from ..backend import Generator
from ..casting import is_autocasting
from ..mode import TAPE, local
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, new_parameter
from .module import Module
from .utils.rnn import PackedSequence, padded_and_lengths

__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}
NONLINEARITIES = ("tanh", "relu")


class RNNBase(Module):
    """What the recurrent layers share; `mode` is RNN_TANH, RNN_RELU, GRU or LSTM.

    The parameters of layer k are `weight_ih_lk` (gates * H, input), `weight_hh_lk` (gates * H, H),
    `bias_ih_lk` and `bias_hh_lk` (gates * H,), with the suffix `_reverse` for the second direction
    and `weight_hr_lk` (proj_size, H) for a projection. All start uniform in
    [-1/sqrt(hidden_size), 1/sqrt(hidden_size)].
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, proj_size: int = 0, device: Any = None,
                 dtype: Any = None, generator: Generator | None = None):
        super().__init__()
        name = type(self).__name__
        if mode not in GATES:
            raise ValueError(f"[{name}] mode must be one of {', '.join(GATES)}, got {mode!r}")
        self.mode = mode
        self.input_size = count(input_size, name, "input_size")
        self.hidden_size = count(hidden_size, name, "hidden_size")
        self.num_layers = count(num_layers, name, "num_layers")
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        self.dropout = _probability(dropout, name)
        self.bidirectional, self.generator = bool(bidirectional), generator
        self.proj_size = count(proj_size, name, "proj_size", 0)
        if self.proj_size and mode != "LSTM":
            raise ValueError(f"[{name}] proj_size is for LSTM only, got {proj_size}")
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"[{name}] proj_size must be smaller than hidden_size {hidden_size}, "
                             f"got {proj_size}")
        if self.dropout and num_layers == 1:
            warnings.warn(f"[{name}] dropout={dropout} acts between layers, and num_layers is 1",
                          stacklevel=3)
        for suffix, size in self._suffixes():
            self._add_parameters(suffix, size, device, dtype)
        self.reset_parameters()

    def _suffixes(self) -> list[tuple[str, int]]:
        """The suffix of the parameters of each layer and direction, and its input size."""
        out = (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)
        return [(f"_l{k}{way}", out if k else self.input_size) for k in range(self.num_layers)
                for way in (("", "_reverse") if self.bidirectional else ("",))]

    def _add_parameters(self, suffix: str, size: int, device: Any, dtype: Any) -> None:
        hidden, rows = self.hidden_size, GATES[self.mode] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, size), "weight_hh": (rows, self.proj_size or hidden)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, hidden)
        for name, shape in shapes.items():
            setattr(self, name + suffix, new_parameter(shape, dtype, device))

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: here parameters need not lie in one block (PyTorch has this for cuDNN)."""

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else []),
                 *(["weight_hr"] if self.proj_size else [])]
        return [[getattr(self, name + suffix) for name in names] for suffix, _ in self._suffixes()]

    # -- forward ---------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> Any:
        """The outputs of the last layer at all steps, and the last state of every layer.

        Args:
            input: (T, N, input_size), (N, T, input_size) with `batch_first`, (T, input_size)
                without a batch, or a PackedSequence; then the outputs are packed in the same way.
            hx: the first state (layers * directions, N, H), zeros by default; for an LSTM the
                pair (h_0, c_0).
            lengths: (N,) how many steps of each sequence are valid. The others change nothing:
                outputs there are 0, the last state is that after the last valid step, and the
                reverse direction starts there.
        """
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError(f"[{name}] a PackedSequence has its own lengths")
            return self._forward_packed(input, hx)
        self._check_input(input)
        batched = input.ndim == 3
        if not batched:
            if lengths is not None:
                raise ValueError(f"[{name}] lengths go with a batch, and input {input.shape} "
                                 "is one sequence")
            x, hx = input[:, None], self._map_state(hx, lambda s: s[:, None])
        else:
            x = input.swapaxes(0, 1) if self.batch_first else input
        steps, n = x.shape[:2]
        if not steps:
            raise ValueError(f"[{name}] input {input.shape} has no time steps")
        state = self._check_state(hx, n, x, batched)
        y, state = self._run(x, state, _check_lengths(lengths, steps, n, name))
        if not batched:
            return y[:, 0], self._map_state(state, lambda s: s[:, 0])
        return y.swapaxes(0, 1) if self.batch_first else y, state

    def _forward_packed(self, input: PackedSequence, hx: Any) -> Any:
        """The rows of a packed batch stand longest first; states are in the user's order."""
        x, lengths = padded_and_lengths(input)
        self._check_input(x)
        state = self._check_state(hx, x.shape[1], x, True)
        order, back = input.sorted_indices, input.unsorted_indices
        if order is not None:
            state = tuple(ops.take(s, order, axis=1) for s in state)
        short = None if lengths[-1] == len(x) else lengths
        y, state = self._run(x, state, short)
        valid = np.arange(len(x))[:, None] < lengths
        y = y[valid if x.device == "cpu" else Tensor(valid, device=x.device)]
        if back is not None:
            state = self._map_state(state, lambda s: ops.take(s, back, axis=1))
        return PackedSequence(y, input.batch_sizes, order, back), state

    def _run(self, x: Tensor, state: tuple[Any, ...], lengths: Any) -> tuple[Tensor, Any]:
        """All layers over (T, N, ...): the outputs, and the last states stacked."""
        if lengths is not None and x.device != "cpu":
            lengths = Tensor(lengths, device=x.device)
        ways = 2 if self.bidirectional else 1
        weights, last = self.all_weights, []
        for k in range(self.num_layers):
            ys = []
            for way in range(ways):
                i = k * ways + way
                y, *end = self._sequence(x, [s[i] for s in state], weights[i], lengths, way == 1)
                ys.append(y)
                last.append(end)
            x = ys[0] if ways == 1 else ops.concat(ys, axis=-1)
            if self.dropout and k < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training, generator=self.generator)
        stacked = tuple(s[0][None] if len(s) == 1 else ops.stack(s)
                        for s in zip(*last, strict=True))
        return x, stacked if self.mode == "LSTM" else stacked[0]

    def _sequence(self, x: Any, state: list[Any], weights: list[Any], lengths: Any,
                  reverse: bool) -> list[Any]:
        """One layer in one direction: outputs, and last states."""
        w_ih, w_hh, *rest = weights
        b_ih, b_hh = rest[:2] if self.bias else (None, None)
        if self.mode == "LSTM":
            w_hr = rest[-1] if self.proj_size else None
            return ops.lstm_sequence(x, *state, w_ih, w_hh, b_ih, b_hh, w_hr, lengths,
                                     reverse=reverse)[:3]
        if self.mode == "GRU":
            return ops.gru_sequence(x, *state, w_ih, w_hh, b_ih, b_hh, lengths,
                                    reverse=reverse)[:2]
        return ops.rnn_sequence(x, *state, w_ih, w_hh, b_ih, b_hh, lengths, reverse=reverse,
                                nonlinearity=self.mode[4:].lower())[:2]

    # -- checks ----------------------------------------------------------------------------------

    def _map_state(self, hx: Any, f: Any) -> Any:
        """`f` of the state, or of both parts of an LSTM's."""
        return None if hx is None else tuple(map(f, hx)) if isinstance(hx, (tuple, list)) else f(hx)

    def _check_input(self, x: Any) -> None:
        name = type(self).__name__
        check_float(x, self.weight_ih_l0, name)
        if x.ndim not in (2, 3):
            order = "(N, T" if self.batch_first else "(T, N"
            raise ValueError(f"[{name}] input must be {order}, {self.input_size}) or (T, "
                             f"{self.input_size}), got {tuple(x.shape)}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"[{name}] the last axis of input {tuple(x.shape)} must be "
                             f"input_size {self.input_size}")

    def _check_state(self, hx: Any, n: int, x: Tensor, batched: bool) -> tuple[Any, ...]:
        name, parts = type(self).__name__, 2 if self.mode == "LSTM" else 1
        rows = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][:parts]
        if hx is None:
            return tuple(ops.zeros((rows, n, size), dtype=x.dtype, device=x.device)
                         for size in sizes)
        if parts == 2 and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise TypeError(f"[{name}] hx must be the pair (h_0, c_0), got {type(hx).__name__}")
        if parts == 1 and isinstance(hx, (tuple, list)):
            raise TypeError(f"[{name}] hx must be one tensor, got a {type(hx).__name__}")
        state = tuple(hx) if parts == 2 else (hx,)
        for label, s, size in zip(("h_0", "c_0"), state, sizes, strict=False):
            if s.dtype != x.dtype and not is_autocasting():
                raise TypeError(f"[{name}] {label} is {s.dtype}, and input is {x.dtype}")
            if tuple(s.shape) != (rows, n, size):
                wanted = (rows, n, size) if batched else (rows, size)
                given = tuple(s.shape) if batched else (s.shape[0], *s.shape[2:])
                raise ValueError(f"[{name}] {label} has shape {given}, {wanted} is needed: layers "
                                 f"times directions, {'batch, ' if batched else ''}size")
        return state

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (("proj_size", 0), ("num_layers", 1), ("bias", True),
                              ("batch_first", False), ("dropout", 0.0), ("bidirectional", False)):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


def check_float(x: Any, weight: Any, name: str) -> None:
    """Refuse what is no tensor of the weights' dtype."""
    if not hasattr(x, "dtype"):
        raise TypeError(f"[{name}] input must be a tensor, got {type(x).__name__}")
    if x.dtype != weight.dtype and not is_autocasting():
        raise TypeError(f"[{name}] input is {x.dtype} {tuple(x.shape)}, the weights are "
                        f"{weight.dtype}: use input.astype({str(weight.dtype)!r}) or layer.to(...)")


def _probability(p: Any, name: str) -> float:
    if isinstance(p, bool) or not isinstance(p, numbers.Number) or not 0 <= p <= 1:  # type: ignore
        raise ValueError(f"[{name}] dropout must be a number in [0, 1], got {p!r}")
    return float(p)  # type: ignore[arg-type]


def _check_lengths(lengths: Any, steps: int, n: int, name: str) -> Any:
    """Lengths as int64 (N,), or None."""
    if lengths is None:
        return None
    # nobody looks at values while a tape records, or on a GPU
    recorded = isinstance(lengths, Tensor) and (local.mode & TAPE or lengths.device != "cpu")
    array = (lengths.data if recorded else lengths.numpy() if isinstance(lengths, Tensor)
             else np.asarray(lengths))
    if array.shape != (n,) or (array.dtype.kind not in "iu" and n):
        raise ValueError(f"[{name}] lengths must be {n} integers, got {array.dtype} {array.shape}")
    if not recorded and array.size and not (0 <= array.min() and array.max() <= steps):
        raise ValueError(f"[{name}] lengths must be from 0 to {steps}, the number of steps; got "
                         f"{array.tolist()}")
    return lengths if isinstance(lengths, Tensor) else array.astype(np.int64)


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu in the place of tanh.

    Further arguments, shapes and what is returned: see `RNNBase.forward`. `generator` draws the
    dropout between layers.

    >>> import tinygen as tg
    >>> y, h = RNN(3, 5, num_layers=2)(tg.zeros((7, 4, 3)))
    >>> y.shape, h.shape
    ((7, 4, 5), (2, 4, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 nonlinearity: str = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None, generator: Generator | None = None):
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"[RNN] nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, 0, device, dtype, generator)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory; equations and sources: `tinygen.lstm_sequence`.

    The state is a pair (h, c). With `proj_size` each h is projected to that many numbers.

    >>> import tinygen as tg
    >>> y, (h, c) = LSTM(3, 5, bidirectional=True)(tg.zeros((7, 4, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 4, 10), (2, 4, 5), (2, 4, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device: Any = None, dtype: Any = None,
                 generator: Generator | None = None):
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype, generator)


class GRU(RNNBase):
    """Gated recurrent units; equations and source: `tinygen.gru_sequence`.

    >>> import tinygen as tg
    >>> y, h = GRU(3, 5, batch_first=True)(tg.zeros((4, 7, 3)), lengths=[7, 2, 5, 1])
    >>> y.shape, h.shape
    ((4, 7, 5), (1, 4, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None, generator: Generator | None = None):
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype, generator)
