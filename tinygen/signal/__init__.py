"""Signal processing: convolution, correlation, window functions (`tinygen.signal.windows`)."""

from . import windows
from .filters import convolve, correlate
