"""Capture: the third reading of every rule. A tape of primitive calls that can be replayed."""

from .tape import Program, capture

__all__ = ["Program", "capture"]
