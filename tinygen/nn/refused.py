"""What other libraries have in nn -> what to write here, for the error message."""

from __future__ import annotations

__all__ = ["KERAS", "REFUSED"]

REFUSED = {
    "SyncBatchNorm": "a process trains on one device here: use nn.BatchNorm1d, 2d or 3d",
    "DataParallel": "a process trains on one device here: call the module itself",
    "CrossMapLRN2d": "use nn.LocalResponseNorm, which PyTorch documents as the same formula "
                     "(PyTorch's own CrossMapLRN2d never takes channel 0 out of its running sum)",
    "Container": "PyTorch has given it up: write a class derived from nn.Module",
    "UninitializedParameter": "parameters have their shape from the start here: use nn.Parameter",
    "UninitializedBuffer": "buffers have their shape from the start here: use "
                           "Module.register_buffer",
    "Buffer": "use Module.register_buffer(name, tensor)",
    "LinearCrossEntropyOptions": "they choose between ways to the same result: leave them out",
    "LazyLinear": "use nn.Linear(in_features, ...): sizes are given, not guessed on first use",
    **{f"Lazy{kind}{n}d": f"use nn.{kind}{n}d({size}, ...): sizes are given, not guessed "
                             "on first use"
       for kind, size in (("Conv", "in_channels"), ("ConvTranspose", "in_channels"),
                          ("BatchNorm", "num_features"), ("InstanceNorm", "num_features"))
       for n in (1, 2, 3)},
}

KERAS = {
    "Dense": "use nn.Linear(in_features, out_features)",
    "Activation": "use nn.ReLU, nn.Tanh, nn.Sigmoid, ...",
    "Conv1D": "use nn.Conv1d", "Conv2D": "use nn.Conv2d", "Conv3D": "use nn.Conv3d",
    "Conv2DTranspose": "use nn.ConvTranspose2d", "Conv1DTranspose": "use nn.ConvTranspose1d",
    "MaxPooling1D": "use nn.MaxPool1d", "MaxPooling2D": "use nn.MaxPool2d",
    "AveragePooling1D": "use nn.AvgPool1d", "AveragePooling2D": "use nn.AvgPool2d",
    "GlobalAveragePooling2D": "use nn.AdaptiveAvgPool2d(1) and nn.Flatten()",
    "GlobalMaxPooling2D": "use nn.AdaptiveMaxPool2d(1) and nn.Flatten()",
    "UpSampling2D": "use nn.Upsample", "ZeroPadding2D": "use nn.ZeroPad2d",
    "BatchNormalization": "use nn.BatchNorm1d, 2d or 3d", "LayerNormalization": "use nn.LayerNorm",
    "GroupNormalization": "use nn.GroupNorm", "SpatialDropout2D": "use nn.Dropout2d",
    "MultiHeadAttention": "use nn.MultiheadAttention", "TimeDistributed": "layers act on the last "
    "axis, whatever comes before it", "Bidirectional": "use nn.LSTM(..., bidirectional=True)",
    "SimpleRNN": "use nn.RNN", "Lambda": "write a class derived "
    "from nn.Module, or call the function", "Input": "shapes are found when data comes",
    "Model": "use nn.Module or nn.Sequential", "Layer": "use nn.Module",
}
