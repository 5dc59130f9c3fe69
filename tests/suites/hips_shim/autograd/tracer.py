"""Is a value traced?"""

import tinygen as tg


def isbox(value):
    return isinstance(value, tg.Tensor)
