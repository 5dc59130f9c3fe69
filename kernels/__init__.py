"""Optional native kernels, imported as `tinygen.kernels`: cpu/ (Numba) and gpu/ (CUDA C).

Only `tinygen.primitive` knows this package, and it imports a device's kernels on the first use of
that device; importing this file alone loads no compiler. A kernel that declines an input, a
missing Numba or CuPy, or a deleted kernels/ folder leaves the NumPy/CuPy definition of the same
primitive in charge: slower, with the same results.
"""
