"""Signal processing: window functions (`tinygen.signal.windows`)."""

from . import windows
