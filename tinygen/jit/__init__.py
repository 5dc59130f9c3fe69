"""Capture: the third reading of every rule. A tape of primitive calls that can be replayed."""

from ..mode import CaptureError
from .tape import Program, capture

__all__ = ["CaptureError", "Program", "capture"]
