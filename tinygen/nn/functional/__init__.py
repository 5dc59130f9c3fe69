"""Everything in nn that has no state, under PyTorch's names, argument names and defaults.

These are the functions of `tinygen.ops` as a PyTorch user calls them (`dim` instead of `axis`).
`inplace=True` is accepted where PyTorch has it and changes nothing: results are new tensors.
"""

from .activation import *
from .adversarial_loss import *
from .attention import *
from .contrastive_loss import *
from .conv import *
from .ctc import *
from .distance import *
from .dropout import *
from .image_loss import *
from .likelihood_loss import *
from .grid import *
from .loss import *
from .margin_loss import *
from .norm import *
from .padding import *
from .pool import *
from .position import *
from .rearrange import *
from .resize import *
from .table import *
from ...casting import FUNCTIONS as _FUNCTIONS, casts as _casts

for _name in _FUNCTIONS & globals().keys():
    globals()[_name] = _casts(globals()[_name])
