"""einops' layers for tinygen: `Rearrange`, `Reduce` and `EinMix` as modules.

They need einops (`pip install einops`) and behave as those of `einops.layers.torch`; import them by
`from tinygen.nn.einops import Rearrange`.

Source: Rogozhnikov, "Einops: clear and reliable tensor manipulations with Einstein-like notation"
(ICLR 2022).
"""

from __future__ import annotations

from typing import Any

from einops.layers import RearrangeMixin, ReduceMixin
from einops.layers._einmix import _EinmixMixin

from .. import ops
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

__all__ = ["EinMix", "Rearrange", "Reduce"]


class Rearrange(RearrangeMixin, Module):
    """`einops.rearrange` as a layer: `Rearrange("b c h w -> b (c h w)")`."""

    def forward(self, input: Tensor) -> Tensor:
        """The elements of `input` in the order and shape of the pattern's right side."""
        return self._apply_recipe(input)


class Reduce(ReduceMixin, Module):
    """`einops.reduce` as a layer: `Reduce("b c (h h2) (w w2) -> b c h w", "max", h2=2, w2=2)`."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` reduced over the axes that the pattern's right side does not name."""
        return self._apply_recipe(input)


class EinMix(_EinmixMixin, Module):
    """An einsum of the input with a weight of named axes, plus a bias.

    `EinMix("t b cin -> t b cout", weight_shape="cin cout", bias_shape="cout", cin=10, cout=20)` is
    a linear layer. The weight is uniform in +-sqrt(3 / fan_in), the bias in +-sqrt(1 / fan_in).
    """

    def _create_parameters(self, weight_shape: Any, weight_bound: float, bias_shape: Any,
                           bias_bound: float) -> None:
        self.weight = Parameter(ops.zeros(tuple(weight_shape)))
        init.uniform_(self.weight, -weight_bound, weight_bound)
        self.bias = None
        if bias_shape is not None:
            self.bias = Parameter(ops.zeros(tuple(bias_shape)))
            init.uniform_(self.bias, -bias_bound, bias_bound)

    def _create_rearrange_layers(self, pre_reshape_pattern: str | None,
                                 pre_reshape_lengths: dict[str, int] | None,
                                 post_reshape_pattern: str | None,
                                 post_reshape_lengths: dict[str, int] | None) -> None:
        self.pre_rearrange = None
        if pre_reshape_pattern is not None:
            self.pre_rearrange = Rearrange(pre_reshape_pattern, **(pre_reshape_lengths or {}))
        self.post_rearrange = None
        if post_reshape_pattern is not None:
            self.post_rearrange = Rearrange(post_reshape_pattern, **(post_reshape_lengths or {}))

    def forward(self, input: Tensor) -> Tensor:
        """The einsum of `input` and the weight, plus the bias, in the pattern's output shape."""
        if self.pre_rearrange is not None:
            input = self.pre_rearrange(input)
        result = ops.einsum(self.einsum_pattern, input, self.weight)
        if self.bias is not None:
            result = result + self.bias
        return result if self.post_rearrange is None else self.post_rearrange(result)
