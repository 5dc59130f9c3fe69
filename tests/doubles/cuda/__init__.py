"""CUDA C on the CPU: the sources of kernels/gpu, compiled as C++ and run thread by thread.

* `fiber.h`, `block.h`: a fiber for each thread of a block, barriers, exchanges within a warp;
* `shim.h`: the names of CUDA C that the kernels use;
* `build`: from a source to functions that check how they are launched.

A launch raises where threads miss a barrier or another one, where lanes wait for lanes that do not
come, where an index leaves an array of known size, and where something is written outside of the
dynamic shared memory. Shared memory is full of NaN when a block starts, and threads can run in
three orders (`thread_order`): a kernel that lacks a barrier gives wrong numbers in one of them.
"""
