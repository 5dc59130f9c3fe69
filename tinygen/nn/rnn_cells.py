"""Recurrent cells: one time step, for loops of one's own."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..casting import is_autocasting
from ..tensor import Tensor
from . import init
from .linear import count, new_parameter
from .module import Module
from .rnn import NONLINEARITIES, check_float

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What the cells share: `weight_ih` (chunks * H, input), `weight_hh` (chunks * H, H), and
    `bias_ih` and `bias_hh` (chunks * H,), uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)].
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        name = type(self).__name__
        self.input_size = count(input_size, name, "input_size", 0)
        self.hidden_size = count(hidden_size, name, "hidden_size")
        self.bias, rows = bool(bias), count(num_chunks, name, "num_chunks") * hidden_size
        self.weight_ih = new_parameter((rows, input_size), dtype, device)
        self.weight_hh = new_parameter((rows, hidden_size), dtype, device)
        for key in ("bias_ih", "bias_hh"):
            self.register_parameter(key, new_parameter((rows,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _step(self, op: Any, input: Any, states: list[Any], **attrs: Any) -> list[Any]:
        """One step of `op`, with zeros for the states that are None: the new states."""
        name = type(self).__name__
        check_float(input, self.weight_ih, name)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(f"[{name}] input must be (N, {self.input_size}) or "
                             f"({self.input_size},), got {tuple(input.shape)}")
        shape = (*input.shape[:-1], self.hidden_size)
        for i, state in enumerate(states):
            if state is None:
                states[i] = ops.zeros(shape, dtype=input.dtype, device=input.device)
            elif tuple(state.shape) != shape:
                raise ValueError(f"[{name}] {('h', 'c')[i]} has shape {tuple(state.shape)}, input "
                                 f"{tuple(input.shape)} needs {shape}")
            elif state.dtype != input.dtype and not is_autocasting():
                raise TypeError(f"[{name}] {('h', 'c')[i]} is {state.dtype}, and input is "
                                f"{input.dtype}")
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        return self._call(op, input, states, weights, attrs)

    @staticmethod
    def _call(op: Any, x: Any, states: list[Any], weights: list[Any],
              attrs: dict[str, Any]) -> list[Any]:
        if x.ndim == 2:
            return op(x[None], *states, *weights, **attrs)[1:1 + len(states)]
        new = op(x[None, None], *(s[None] for s in states), *weights, **attrs)
        return [s[0] for s in new[1:1 + len(states)]]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        kind = getattr(self, "nonlinearity", "tanh")
        return text if kind == "tanh" else f"{text}, nonlinearity={kind}"


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu in the place of tanh.

    (N, input_size) and (N, H), zeros by default, give (N, H); all may lack the batch axis.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None, dtype: Any = None):
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"[RNNCell] nonlinearity must be 'tanh' or 'relu', got "
                             f"{nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        return self._step(ops.rnn_sequence, input, [hx], nonlinearity=self.nonlinearity)[0]


class LSTMCell(RNNCellBase):
    """One step of long short-term memory: input (N, input_size) and (h, c), each (N, H), zeros by
    default, give (h', c'); all may lack the batch axis. Equations: `tinygen.lstm_sequence`.

    >>> import tinygen as tg
    >>> h, c = LSTMCell(3, 5)(tg.zeros((4, 3)))
    >>> h.shape, c.shape
    ((4, 5), (4, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise TypeError(f"[LSTMCell] hx must be the pair (h, c), got {type(hx).__name__}")
        h, c = self._step(ops.lstm_sequence, input, [None, None] if hx is None else list(hx))
        return h, c


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit: input (N, input_size) and (N, H), zeros by default, give
    (N, H); all may lack the batch axis. Equations: `tinygen.gru_sequence`.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        return self._step(ops.gru_sequence, input, [hx])[0]
