"""What works on parameters, gradients and sequences rather than being a layer itself."""

from . import fusion, parametrizations, parametrize, rnn, stateless
from .clip import *
from .fusion import *
from .normed import *
