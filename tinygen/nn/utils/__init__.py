"""What works on parameters, gradients and sequences rather than being a layer itself."""

from . import rnn
from .clip import *
