"""Stand-ins for libraries that need a GPU: the engine's device path runs on them, on any machine.

`cupy` here is a strict double of the CuPy module, made of NumPy. It is stricter than CuPy where a
mistake would only be slow there (a host array as an index), and wrong on purpose where a mistake
would be silent there (memory from `empty` is poisoned, every allocation has guard zones).

* `counting`: how many launches, transfers and synchronisations a piece of code makes;
* `memory`: guarded allocations, pointers, the memory pool;
* `array`: the `ndarray` class; `functions`: what stands in the module; `names`: what CuPy has;
* `runtime`: devices, streams, events; `raw`: modules compiled from CUDA C; `rng`: `cupy.random`;
* `install`: puts all of it where `import cupy` finds it, and takes it away again.
"""
