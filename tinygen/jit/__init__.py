"""Capture: the third reading of every rule. A tape of primitive calls that can be replayed."""

from ..mode import CaptureError
from .program import Program
from .tape import capture

__all__ = ["CaptureError", "Program", "capture"]
