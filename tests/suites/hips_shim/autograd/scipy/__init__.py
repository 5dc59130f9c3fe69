"""SciPy outside of traces, tinygen's special functions and linear algebra inside."""

import sys

import scipy.integrate
import scipy.linalg
import scipy.signal
import scipy.special
import scipy.stats

import tinygen as tg

from ..numpy import Wrapped
from . import stats

special = Wrapped(f"{__name__}.special", scipy.special, [tg.special, tg])
linalg = Wrapped(f"{__name__}.linalg", scipy.linalg, [tg.linalg])
signal = Wrapped(f"{__name__}.signal", scipy.signal, [tg.signal])
integrate = Wrapped(f"{__name__}.integrate", scipy.integrate, [])
sys.modules |= {f"{__name__}.{m}": globals()[m]
                for m in ("special", "linalg", "signal", "integrate")}
