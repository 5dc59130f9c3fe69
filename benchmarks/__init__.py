"""Benchmarks: `python -m benchmarks` compares whole training steps with other frameworks.

`rows.py` says what is measured, `workloads.py` and `peers/` do the same work on each side,
`runner.py` runs each side in a process of its own, in turns, and `report.py` shows the outcome.
`overhead.py` and `interplay.py` are programs of their own: what tinygen adds to NumPy's own call,
per operation, and whether the thread pools of BLAS and of the kernels get in each other's way.
"""
