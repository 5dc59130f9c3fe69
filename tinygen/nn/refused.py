"""What other libraries have in nn -> what to write here, for the error message."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["KERAS", "KERAS_ARGUMENTS", "REFUSED", "refuse_arguments"]

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
    "Dense": "use nn.Linear(in_features, out_features), and a layer for the activation",
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
    "from nn.Module, or call the function", "Input": "leave it out: shapes are checked when data "
    "comes",
    "Model": "use nn.Module or nn.Sequential", "Layer": "use nn.Module",
}

# Keras's argument names, which no layer here has under another meaning.
_SIZES = "sizes are those of the input and of the output: nn.Linear(in_features, out_features), " \
         "nn.LSTM(input_size, hidden_size)"
_CONV = "write nn.Conv2d(in_channels, out_channels, kernel_size)"
_EMBEDDING = "write nn.Embedding(num_embeddings, embedding_dim)"
_NO_SHAPE = "leave it out: the first layer's own sizes say what fits"
_STEPS = "leave it out: output, state = layer(x) gives all steps and the last state"
_START = "weights start as in PyTorch; nn.init has other ways"
KERAS_ARGUMENTS = {
    "units": _SIZES, "filters": _CONV, "strides": "use stride", "pool_size": "use kernel_size",
    "dilation_rate": "use dilation", "use_bias": "use bias", "rate": "use p", "epsilon": "use eps",
    "activation": "add a layer behind it: nn.ReLU(), nn.Tanh(), ...; softmax and sigmoid before a "
                  "loss are part of nn.CrossEntropyLoss and nn.BCEWithLogitsLoss",
    "input_dim": _EMBEDDING, "output_dim": _EMBEDDING, "input_length": _NO_SHAPE,
    "mask_zero": "use padding_idx, and nn.utils.rnn or lengths= for the layers behind it",
    "input_shape": _NO_SHAPE, "batch_input_shape": _NO_SHAPE,
    "target_shape": "write nn.Reshape(*shape), without the batch axis",
    "data_format": "channels come first here: (N, C, H, W)",
    "return_sequences": _STEPS, "return_state": _STEPS,
    "key_dim": "write nn.MultiheadAttention(embed_dim, num_heads)",
    "kernel_initializer": _START, "bias_initializer": _START,
    "kernel_regularizer": "use the weight_decay of the optimizer",
}


def refuse_arguments(kind: type, names: Any) -> None:
    """Raise TypeError where a layer of tinygen.nn is given an argument that only Keras has."""
    foreign = [name for name in names if name in KERAS_ARGUMENTS]
    if not foreign or not kind.__init__.__module__.startswith("tinygen.nn"):  # type: ignore[misc]
        return
    known = {name for base in kind.__mro__ if "__init__" in vars(base)
             for name in inspect.signature(vars(base)["__init__"]).parameters}
    for name in foreign:
        if name not in known and kind.__name__ != "Identity":       # which takes and ignores all
            raise TypeError(f"[{kind.__name__}] there is no argument {name!r}; "
                            f"{KERAS_ARGUMENTS[name]}")
