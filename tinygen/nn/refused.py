"""What other libraries have in nn -> what to write here, for the error message."""

from __future__ import annotations

__all__ = ["REFUSED"]

REFUSED = {
    "SyncBatchNorm": "a process trains on one device here: use nn.BatchNorm1d, 2d or 3d",
    "DataParallel": "a process trains on one device here: call the module itself",
    "CrossMapLRN2d": "use nn.LocalResponseNorm, which PyTorch documents as the same formula "
                     "(PyTorch's own CrossMapLRN2d never takes channel 0 out of its running sum)",
    "Container": "PyTorch has given it up: write a class derived from nn.Module",
    "UninitializedParameter": "parameters have their shape from the start here: use nn.Parameter",
    "UninitializedBuffer": "buffers have their shape from the start here: use "
                           "Module.register_buffer",
    "LazyLinear": "use nn.Linear(in_features, ...): sizes are given, not guessed on first use",
    **{f"Lazy{kind}{n}d": f"use nn.{kind}{n}d({size}, ...): sizes are given, not guessed "
                             "on first use"
       for kind, size in (("Conv", "in_channels"), ("ConvTranspose", "in_channels"),
                          ("BatchNorm", "num_features"), ("InstanceNorm", "num_features"))
       for n in (1, 2, 3)},
}
