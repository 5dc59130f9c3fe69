"""Signal processing: convolution, correlation, windows (`tinygen.signal.windows`), spectra."""

from . import windows
from .filters import convolve, correlate
from .spectra import (
    MelSpectrogram,
    griffin_lim,
    istft,
    mel_filters,
    spectral_convergence,
    stft,
)
