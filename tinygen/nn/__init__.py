"""Layers, losses and what holds them: PyTorch's names, arguments, defaults and weight layouts."""

from typing import Any as _Any

from . import functional, init, utils
from .module import LoadResult, Module, Parameter
from .activation import *
from .adaptive import *
from .adversarial_loss import *
from .attention import *
from .cache import *
from .containers import *
from .dictionaries import *
from .conv import *
from .distance import *
from .dropout import *
from .embedding import *
from .linear import *
from .likelihood_loss import *
from .loss import *
from .margin_loss import *
from .norm import *
from .rnn import *
from .rnn_cells import *
from .transformer import *
from .padding import *
from .pool import *
from .resize import *
from .positions import *
from .weights import *


def __getattr__(name: str) -> _Any:
    from .refused import KERAS, REFUSED
    if name in REFUSED or name in KERAS:
        raise AttributeError(f"tinygen.nn has no {name!r}; {REFUSED.get(name) or KERAS[name]}")
    raise AttributeError(f"module 'tinygen.nn' has no attribute {name!r}")
