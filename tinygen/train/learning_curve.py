"""Where a run is heading: curves through its first losses; a search that drops hopeless runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["CurveStop", "LearningCurve", "Trial", "fit_learning_curve", "hopeless", "search"]

_FADING = {"power": lambda n, rate: n ** -rate, "exponential": lambda n, rate: np.exp(-rate * n)}
_RATES = {"power": np.geomspace(0.02, 5, 200), "exponential": np.geomspace(0.005, 5, 200)}


@dataclass(frozen=True)
class LearningCurve:
    """limit + drop n^-rate ("power"), or limit + drop e^(-rate n) ("exponential"), n from 1 on.

    `error` is the standard deviation of the losses around it, with three parameters paid for.
    """

    kind: str
    limit: float
    drop: float
    rate: float
    error: float

    def __call__(self, n: Any) -> Any:
        """The loss after n evaluations; a number or an array."""
        return self.limit + self.drop * _FADING[self.kind](np.asarray(n, np.float64), self.rate)


def fit_learning_curve(losses: Sequence[float], kind: str = "power") -> LearningCurve:
    """The curve with the least squares of its distances from the losses, at n = 1, 2, ...

    For a given rate the best limit and drop are those of a straight line, so that the rates can
    all be tried: nothing has to start near the answer, and nothing fails to converge.

    Args:
        losses: at least four, finite; each after as much training as the one before.
        kind: "power" or "exponential".

    Raises:
        ValueError: there are fewer than four losses, they are not finite, or `kind` is no such
            word.

    Source: T. Domhan, J. Springenberg and F. Hutter, "Speeding Up Automatic Hyperparameter
    Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI 2015, which
    weighs eleven families; these are two of them.

    >>> curve = fit_learning_curve([3.0, 2.0, 1.5, 1.25, 1.125], "exponential")   # halves each time
    >>> round(float(curve(10)), 2), round(curve.limit, 2)
    (1.0, 1.0)
    """
    y = np.asarray(losses, np.float64)
    if kind not in _FADING:
        raise ValueError(f"[fit_learning_curve] kind must be one of {', '.join(_FADING)}; got "
                         f"{kind!r}")
    if y.ndim != 1 or len(y) < 4 or not np.isfinite(y).all():
        raise ValueError(f"[fit_learning_curve] losses: {y.shape}, at least four finite numbers "
                         "are expected")
    rates = _RATES[kind]
    for _ in range(2):                                       # all, then closely around the best
        fading = _FADING[kind](np.arange(1.0, len(y) + 1), rates[:, None])         # (R, n)
        spread = fading - fading.mean(axis=1, keepdims=True)
        drops = spread @ (y - y.mean()) / np.square(spread).sum(axis=1)            # (R,)
        limits = y.mean() - drops * fading.mean(axis=1)
        squares = np.square(limits[:, None] + drops[:, None] * fading - y).sum(axis=1)
        best = int(squares.argmin())
        found = LearningCurve(kind, float(limits[best]), float(drops[best]), float(rates[best]),
                              math.sqrt(squares[best] / max(len(y) - 3, 1)))
        rates = np.linspace(rates[max(best - 1, 0)], rates[min(best + 1, len(rates) - 1)], 101)
    return found


def hopeless(losses: Sequence[float], total: int, best: float, margin: float = 0.5,
             least: int = 4) -> bool:
    """Whether a run with these losses will not get below `best` within `total` evaluations.

    Both kinds of curve are extrapolated to `total`. The lower answer, lowered once more by
    `margin` of the fall it still expects and by twice the error of its curve, has to stay above
    `best`. A loss that is not finite is hopeless at once; before `least` losses nothing else is.

    >>> hopeless([9.0, 8.0, 7.5, 7.25, 7.125], total=10, best=5.0)
    True
    >>> hopeless([9.0, 8.0, 7.0, 6.0, 5.5], total=10, best=5.0)
    False
    """
    if losses and not math.isfinite(losses[-1]):
        return True
    if len(losses) < max(least, 4) or not all(map(math.isfinite, losses)):
        return False
    curves = [fit_learning_curve(losses, kind) for kind in _FADING]
    last = min(losses)
    return all(last - (1 + margin) * max(last - float(curve(total)), 0.0) - 2 * curve.error > best
               for curve in curves)


class CurveStop(Callback):
    """Stop a run that is heading for a worse loss than one that is known.

    Args:
        best: the loss to beat, for instance that of the best run so far; see `hopeless`.
        total: how many evaluations the whole run would have: its epochs.
        monitor: a name in the logged rows.
        margin, least: see `hopeless`.
    """

    def __init__(self, best: float, total: int, monitor: str = "eval_loss", margin: float = 0.5,
                 least: int = 4):
        self.best, self.total, self.monitor = best, total, monitor
        self.margin, self.least = margin, least
        self.losses: list[float] = []

    def on_log(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Look at the metric where the row has it."""
        if self.monitor not in row:
            return
        self.losses.append(float(row[self.monitor]))
        if (len(self.losses) < self.total
                and hopeless(self.losses, self.total, self.best, self.margin, self.least)):
            trainer.stop(f"{self.monitor} is heading for more than {self.best:.6g}")

    def state_dict(self) -> dict[str, Any]:
        """The losses so far."""
        return {"losses": list(self.losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the curve."""
        self.losses = [float(loss) for loss in state["losses"]]


@dataclass
class Trial:
    """A configuration, its losses, and whether it was stopped before its end."""

    config: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def loss(self) -> float:
        """The lowest loss reached; infinity where none is finite."""
        return min(filter(math.isfinite, self.losses), default=math.inf)


def search(configs: Iterable[dict[str, Any]], run: Callable[[dict[str, Any]], Iterable[float]],
           evaluations: int, *, stop: bool = True, margin: float = 0.5,
           least: int = 4) -> list[Trial]:
    """Try configurations one after the other, and give up those that cannot become the best.

    Args:
        configs: what to try, in this order; drawn at random they are a random search (J. Bergstra
            and Y. Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012).
        run: a generator function that trains under a configuration and yields a loss after each
            of `evaluations` equal parts of the training. It is not asked again once given up.
        evaluations: how many losses a whole run has.
        stop: False runs every one to its end.
        margin, least: see `hopeless`.

    Returns:
        The trials, in the order tried; `min(trials, key=lambda t: t.loss)` is the winner.

    Raises:
        ValueError: a run has ended before `evaluations` losses, or `evaluations` is not positive.
    """
    if evaluations < 1:
        raise ValueError(f"[search] evaluations must be positive, got {evaluations}")
    trials: list[Trial] = []
    best = math.inf
    for config in configs:
        trial = Trial(dict(config))
        trials.append(trial)
        for loss in run(trial.config):
            trial.losses.append(float(loss))
            if len(trial.losses) == evaluations:
                break
            if stop and hopeless(trial.losses, evaluations, best, margin, least):
                trial.stopped = True
                break
        else:
            raise ValueError(f"[search] {config}: the run gave {len(trial.losses)} losses; "
                             f"{evaluations} were announced")
        best = min(best, trial.loss)
    return trials
