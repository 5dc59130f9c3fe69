"""Optimizers, learning-rate schedules, weight averages and gradient clipping, as in PyTorch."""

from . import lr_scheduler, swa_utils
from .adagrad import Adadelta, Adagrad
from .adam import Adam, AdamW
from .adam_variants import Adamax, NAdam, RAdam
from .asgd import ASGD
from .ema import EMA
from .lbfgs import LBFGS
from .matrix import Adafactor, Muon
from .optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from .rmsprop import RMSprop
from .sgd import SGD
from .sign import Lion, Rprop
from .sparse import SparseAdam
from .stateless import swap_in_optimizer_params_and_state
from ..nn.utils import clip_grad_norm_, clip_grad_value_

__all__ = ["ASGD", "EMA", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW",
           "Adamax", "Lion", "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop",
           "SparseAdam", "clip_grad_norm_", "clip_grad_value_", "lr_scheduler",
           "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook",
           "swa_utils", "swap_in_optimizer_params_and_state"]
