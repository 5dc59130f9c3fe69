"""Layers, losses and what holds them: PyTorch's names, arguments, defaults and weight layouts."""

from . import functional, init, utils
from .module import Module, Parameter
from .activation import *
from .adversarial_loss import *
from .attention import *
from .cache import *
from .containers import *
from .conv import *
from .dropout import *
from .linear import *
from .likelihood_loss import *
from .loss import *
from .margin_loss import *
from .norm import *
from .rnn import *
from .rnn_cells import *
from .transformer import *
