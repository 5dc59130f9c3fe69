"""Floating point operations of a step, by formula: the multiplications and additions of products
(layers, convolutions, attention). What is elementwise is left out; it is under 2% in all rows."""

from __future__ import annotations

__all__ = ["attention", "conv", "conv_transpose", "dcgan", "frozen", "gan", "gpt", "linear", "mlp",
           "recurrent", "training", "translation", "vae"]


def linear(n: int, inputs: int, outputs: int) -> int:
    """(n, inputs) @ (inputs, outputs): a multiplication and an addition for each pair."""
    return 2 * n * inputs * outputs


def conv(n: int, inputs: int, outputs: int, kernel: int, out_side: int) -> int:
    """A convolution to n square maps: kernel^2 * inputs products for each output element."""
    return 2 * n * out_side ** 2 * outputs * inputs * kernel ** 2


def conv_transpose(n: int, inputs: int, outputs: int, kernel: int, in_side: int) -> int:
    """A transposed convolution: every input element meets the whole kernel."""
    return 2 * n * in_side ** 2 * inputs * outputs * kernel ** 2


def training(layers: list[int]) -> int:
    """Forward, and backward to all weights and to all inputs but the first layer's."""
    return 3 * sum(layers) - layers[0]


def frozen(layers: list[int]) -> int:
    """Forward, and backward to all inputs but to no weights: D while G learns."""
    return 2 * sum(layers)


def mlp(n: int, widths: list[int]) -> list[int]:
    """The layers of a multi-layer perceptron."""
    return [linear(n, a, b) for a, b in zip(widths, widths[1:])]


def gan(generator: list[int], discriminator: list[int]) -> int:
    """G makes images; D learns from real and from generated ones; G learns through D."""
    return training(generator) + 2 * training(discriminator) + frozen(discriminator)


def dcgan(n: int, colours: int, side: int, width: int, latent: int) -> int:
    """Both updates of a DCGAN with 4x4 kernels of stride 2, down to maps 4x4."""
    steps = (side // 4).bit_length() - 1
    channels = [colours] + [width * min(2 ** i, 8) for i in range(steps)]
    sides = [side // 2 ** i for i in range(steps + 1)]
    down = [conv(n, a, b, 4, s) for a, b, s in zip(channels, channels[1:], sides[1:])]
    up = [conv_transpose(n, b, a, 4, s) for a, b, s in zip(channels, channels[1:], sides[1:])]
    flat = channels[-1] * sides[-1] ** 2
    return gan([linear(n, latent, flat), *up[::-1]], [*down, linear(n, flat, 1)])


def vae(down: list[int], heads: list[int], up: list[int]) -> int:
    """Encoder, two heads side by side, decoder; `down` begins with the layer of the image."""
    return training([*down, *heads, *up])


def attention(n: int, heads: int, queries: int, keys: int, width: int,
              causal: bool = False) -> int:
    """q k^T and p v of all heads; causal: only the pairs that a query sees."""
    pairs = queries * (queries + 1) // 2 if causal else queries * keys
    return 4 * n * heads * pairs * width


def recurrent(steps: int, n: int, inputs: int, hidden: int, gates: int) -> int:
    """All steps of an LSTM (4 gates) or GRU (3): the input's and the state's product."""
    return steps * linear(n, inputs + hidden, gates * hidden)


def gpt(n: int, length: int, layers: int, heads: int, width: int, vocabulary: int) -> int:
    """Forward of a GPT: qkv, causal attention, projection, MLP of 4 widths; and the head."""
    tokens = n * length
    block = (linear(tokens, width, 12 * width)
             + attention(n, heads, length, length, width // heads, causal=True))
    return layers * block + linear(tokens, width, vocabulary)


def translation(n: int, source: int, target: int, layers: int, heads: int, width: int,
                feed_forward: int, vocabulary: int) -> int:
    """Forward of an encoder-decoder transformer, padding included; and the head."""
    head, s, t = width // heads, n * source, n * target
    encoder = (linear(s, width, 4 * width + 2 * feed_forward)
               + attention(n, heads, source, source, head))
    decoder = (linear(t, width, 6 * width + 2 * feed_forward) + linear(s, width, 2 * width)
               + attention(n, heads, target, target, head, causal=True)
               + attention(n, heads, target, source, head))
    return layers * (encoder + decoder) + linear(t, width, vocabulary)
