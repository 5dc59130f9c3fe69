"""Training: one loop, callbacks, checkpoints that survive anything.

>>> from tinygen.train import Trainer
>>> trainer = Trainer(model, loader, out="runs/vae", epochs=10)     # doctest: +SKIP
>>> trainer.fit()                                                   # doctest: +SKIP
"""

from .callbacks import Callback, Curves, EarlyStop, Metrics, SampleGrid
from .checkpoint import Checkpoints, read_checkpoint
from .errors import (
    CheckpointError,
    NonFiniteError,
    TrainingError,
    TrainingInterrupted,
    TrainingWarning,
)
from .learning_curve import CurveStop, LearningCurve, Trial, fit_learning_curve, hopeless, search
from .progress import Progress
from .quality import sample_quality
from .trainer import Trainer

__all__ = [
    "Callback", "CheckpointError", "Checkpoints", "Curves", "EarlyStop", "Metrics",
    "NonFiniteError", "Progress", "SampleGrid", "Trainer", "TrainingError", "TrainingInterrupted",
    "TrainingWarning", "CurveStop", "LearningCurve", "Trial", "fit_learning_curve", "hopeless",
    "search", "read_checkpoint", "sample_quality",
]  # fmt: skip
