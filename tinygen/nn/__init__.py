"""Layers, losses and what holds them: PyTorch's names, arguments, defaults and weight layouts."""

from . import functional, init, utils
from .activation import (
    ELU, GELU, SELU, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SiLU,
    Sigmoid, Softmax, Softmin, Softplus, Softsign, Tanh,
)
from .containers import ModuleDict, ModuleList, ParameterList, Sequential
from .conv import (
    AdaptiveAvgPool2d, AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d, Upsample, ZeroPad2d,
)
from .dropout import Dropout, Dropout2d
from .linear import Embedding, Flatten, Identity, Linear, Reshape, Unflatten
from .loss import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss,
    SmoothL1Loss,
)
from .module import Module, Parameter
from .norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
