"""Functions that Numba compiles. Importing this package starts Numba: only `Native` does it."""
