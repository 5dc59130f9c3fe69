"""Containers and isinstance: tinygen traces plain ones, so only isinstance has work to do."""

import builtins

import numpy as onp

import tinygen as tg

list, tuple, dict = builtins.list, builtins.tuple, builtins.dict


def isinstance(value, kind):
    """A traced value counts as the array that it stands for."""
    if builtins.isinstance(value, tg.Tensor):
        kinds = kind if builtins.isinstance(kind, builtins.tuple) else (kind,)
        return any(issubclass(onp.ndarray if value.ndim else float, k) or k is tg.Tensor
                   for k in kinds)
    return builtins.isinstance(value, kind)
