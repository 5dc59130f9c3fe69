"""L-BFGS: a quasi-Newton method that evaluates its closure several times per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..autograd import enable_grad, no_grad
from ..backend import array_module
from ..primitive import TAPE, local
from ..tensor import Tensor
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer, Params, number, numbers
from .state import array_of

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Liu and Nocedal 1989), for all parameters as one vector.

    The direction is -H g, where H approximates the inverse Hessian by the last `history_size`
    changes of the parameters and the gradient. `step(closure)` iterates until a tolerance or a
    limit is met; the closure clears the gradients, computes the loss, calls `backward()` and
    returns the loss.

    Args:
        params: the parameters; there is only one group.
        lr: the length of a step, or where the line search begins.
        max_iter: how many iterations a step makes at most.
        max_eval: how often a step evaluates the closure at most (default: 1.25 max_iter).
        tolerance_grad: a largest element of the gradient that ends a step.
        tolerance_change: a change of the loss or of the parameters that ends a step.
        history_size: how many changes are kept.
        line_search_fn: None or "strong_wolfe".

    >>> import tinygen as tg
    >>> w = tg.Tensor([1.5, -2.0], requires_grad=True)
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2)
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3):
    ...     loss = optimizer.step(closure)
    >>> bool(closure().item() < 1e-6)
    True
    """

    def __init__(self, params: Params, lr: float = 1.0, max_iter: int = 20,
                 max_eval: int | None = None, tolerance_grad: float = 1e-7,
                 tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None):
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, dict(
            lr=lr, max_iter=max_iter, max_eval=max_eval, tolerance_grad=tolerance_grad,
            tolerance_change=tolerance_change, history_size=history_size,
            line_search_fn=line_search_fn))

    def check(self, group: dict[str, Any]) -> None:
        numbers(self, group, "lr")
        for name in ("max_iter", "max_eval", "tolerance_grad", "tolerance_change",
                     "history_size"):
            number(self, group, name, low=None)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"[{self.name}] line_search_fn must be None or 'strong_wolfe', got "
                             f"{group['line_search_fn']!r}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """There is one group, made on construction; another one raises ValueError."""
        if self.param_groups:
            raise ValueError(f"[{self.name}] all parameters form one vector: there can be only one "
                             "group of them")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterate; returns the loss with which the step began.

        Raises:
            TypeError: no closure.
            RuntimeError: a tape records: what is computed depends on values.
        """
        if closure is None:
            raise TypeError(f"[{self.name}] step(closure) needs a function that clears the "
                            "gradients, computes the loss, calls backward() and returns the loss")
        if local.mode & TAPE:
            raise RuntimeError(f"[{self.name}] a step cannot be captured: how often it evaluates "
                               "the loss depends on values")
        self.check(self.param_groups[0])
        with no_grad(), np.errstate(all="ignore"):
            return _Iteration(self, closure).run()

    # -- the parameters as one vector ----------------------------------------------------------

    def _gradient(self) -> Any:
        params = self.param_groups[0]["params"]
        xp = array_module(params[0].data)
        return xp.concatenate([xp.zeros(p.size, p.dtype) if p.grad is None
                               else p.grad.data.reshape(-1) for p in params])

    def _move(self, direction: Any, t: float) -> None:
        start = 0
        for p in self.param_groups[0]["params"]:
            p.data += (t * direction[start:start + p.size]).reshape(p.shape)
            p.touch()
            start += p.size

    # -- saving --------------------------------------------------------------------------------

    def load_entry(self, where: str, entry: dict[str, Any], p: Tensor,
                   group: dict[str, Any]) -> dict[str, Any]:
        kinds: Mapping[str, Any] = {"func_evals": int, "n_iter": int, "t": float, "H_diag": float,
                                    "prev_loss": float}
        size = sum(q.size for q in group["params"])
        found: dict[str, Any] = {}
        for name, value in entry.items():
            if name == "al" or value is None:
                continue                                   # scratch of PyTorch's
            if name in kinds:
                found[name] = kinds[name](value)
            elif name == "ro":
                found[name] = [float(v) for v in value]
            elif name in ("old_dirs", "old_stps"):
                found[name] = [self._vector(where, name, v, size, p) for v in value]
            elif name in ("d", "prev_flat_grad"):
                found[name] = self._vector(where, name, value, size, p)
            else:
                raise KeyError(f"{where} has {name!r} in the saved state, which {self.name} does "
                               "not keep")
        return found

    def _vector(self, where: str, name: str, value: Any, size: int, p: Tensor) -> Tensor:
        array = array_of(value)
        if array.shape != (size,):
            raise ValueError(f"{where} needs {name!r} of shape {(size,)}, the saved one is "
                             f"{array.dtype} {array.shape}")
        return Tensor(array, dtype=p.dtype, device=p.device)


class _Iteration:
    """The iterations of one step: where they stand, taken from the optimizer's state and put back.

    The state lies with the first parameter, under PyTorch's names.
    """

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any]):
        self.optimizer, self.closure = optimizer, closure
        self.group = optimizer.param_groups[0]
        self.state = optimizer.state[self.group["params"][0]]
        self.state.setdefault("func_evals", 0)
        self.state.setdefault("n_iter", 0)
        self.evals = 0

    def evaluate(self) -> float:
        """The loss where the parameters are; leaves its gradient in `self.g`."""
        with enable_grad():
            self.result = self.closure()
        self.evals += 1
        self.state["func_evals"] += 1
        self.g = self.optimizer._gradient()
        return float(self.result)

    def run(self) -> Any:
        group, state = self.group, self.state
        loss = self.evaluate()
        first = self.result
        if self.converged():
            return first
        for i in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self.direction()
            state["prev_flat_grad"], previous = Tensor.wrap(self.g.copy()), loss
            state["d"], state["prev_loss"] = Tensor.wrap(d), loss
            t = float(group["lr"])
            if state["n_iter"] == 1:
                t *= min(1.0, 1 / float(abs(self.g).sum()))
            state["t"] = t
            slope = float(self.g @ d)
            if slope > -group["tolerance_change"]:
                break
            last = i == group["max_iter"]
            loss = self.advance(d, t, slope, loss, last)
            moved = float(abs(d * state["t"]).max())
            if last or self.evals >= group["max_eval"] or self.converged() or (
                    moved <= group["tolerance_change"]
                    or abs(loss - previous) < group["tolerance_change"]):
                break
        return first

    def converged(self) -> bool:
        return not self.g.size or float(abs(self.g).max()) <= self.group["tolerance_grad"]

    def advance(self, d: Any, t: float, slope: float, loss: float, last: bool) -> float:
        """Move along d, by t or by what the line search finds; the loss there."""
        move = self.optimizer._move
        if self.group["line_search_fn"] is None:
            move(d, t)
            return loss if last else self.evaluate()    # nobody would use it after the last move
        params = self.group["params"]
        start = [p.data.copy() for p in params]

        def at(t: float) -> Point:
            move(d, t)
            f = self.evaluate()
            for p, x in zip(params, start):
                p.assign_(x)
            return Point(t, f, self.g, float(self.g @ d))

        found, _ = strong_wolfe(at, Point(0.0, loss, self.g, slope), t, float(abs(d).max()),
                                self.group["max_eval"] - self.evals)
        self.state["t"], self.g = found.t, found.g
        move(d, found.t)
        return found.f

    def direction(self) -> Any:
        """-H g by the two-loop recursion, after the newest change has joined the history."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -self.g
        ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y = self.g - state["prev_flat_grad"].data
        s = state["d"].data * state["t"]
        curvature = float(y @ s)
        if curvature > 1e-10:
            if len(ys) == self.group["history_size"]:
                for history in (ys, ss, ro):
                    history.pop(0)
            ys.append(Tensor.wrap(y))
            ss.append(Tensor.wrap(s))
            ro.append(1 / curvature)
            state["H_diag"] = curvature / float(y @ y)
        q = -self.g
        weights = []
        for y, s, r in zip(reversed(ys), reversed(ss), reversed(ro)):
            weights.append(r * float(s.data @ q))
            q -= weights[-1] * y.data
        q *= state["H_diag"]
        for y, s, r, a in zip(ys, ss, ro, reversed(weights)):
            q += (a - r * float(y.data @ q)) * s.data
        return q
