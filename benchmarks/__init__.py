"""Benchmarks: `python -m benchmarks` compares whole training steps with other frameworks.

`rows.py` says what is measured, `workloads.py` and `peers/` do the same work on each side,
`runner.py` runs each side in a process of its own, in turns, and `report.py` shows the outcome.
`overhead.py`, `interplay.py` and `floor.py` are programs of their own: what tinygen adds to NumPy's
own call, per operation; whether the thread pools of BLAS and of the kernels get in each other's
way; and what training steps would cost on paper, with where the rest of their time goes.
"""
