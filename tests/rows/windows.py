"""Padding, convolution, pooling, windows and resampling."""

from __future__ import annotations

from tests import window_calls as calls
from tests.drawing import Case

CASES = [
    Case("pad", calls.pad_sample, calls.pad_reference),
    Case("unpad", calls.unpad_sample, calls.unpad_reference),
    Case("conv2d", calls.conv_sample, calls.conv_reference, inputs=(0, 1, 2)),
    Case("conv_transpose2d", calls.conv_transpose_sample, calls.conv_transpose_reference,
         inputs=(0, 1, 2)),
    Case("conv2d_weight", calls.conv_weight_sample, calls.conv_weight_reference, inputs=(0, 1)),
    Case("channel_sum", calls.channel_sum_sample, lambda x: x.sum(axis=(0, 2, 3))),
    Case("max_pool", calls.max_pool_sample, calls.max_pool_reference),
    Case("max_unpool", calls.max_unpool_sample, calls.max_unpool_reference),
    Case("max_pick", calls.max_pick_sample, calls.max_pick_reference),
    Case("max_place", calls.max_place_sample, calls.max_place_reference),
    Case("avg_pool", calls.avg_pool_sample, calls.avg_pool_reference),
    Case("avg_unpool", calls.avg_unpool_sample, calls.avg_unpool_reference),
    Case("windows", calls.windows_sample, calls.windows_reference),
    Case("overlap_add", calls.overlap_add_sample, calls.overlap_add_reference),
    Case("resample", calls.resample_sample, calls.resample_reference),
]
