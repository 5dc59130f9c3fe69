"""Numba kernels for NumPy arrays, one file per family of primitives.

Importing a file here registers its kernels in the dispatch table; nothing is compiled before the
first call of a kernel with a given dtype, and what was compiled is cached on disk.
"""
