"""The rows that train or sample whole models."""

from __future__ import annotations

from . import flops
from .rows import Row

__all__ = ["macro_rows", "sampling_rows"]


def macro_rows(quick: bool = False) -> list[Row]:
    """Training steps: images, then text."""
    return [*_dense(), *_convolutional(quick), *_text(quick)]


def _dense() -> list[Row]:
    return [
        Row("micro-mlp", "MLP 2-16-16-1, batch 32, Adam", "macro", 32,
            flops.training(flops.mlp(32, [2, 16, 16, 1])), target=2.0,
            options={"model": "mlp", "batch": 32}),
        Row("mlp-gan", "MLP GAN 784-256-128, batch 64, both updates", "macro", 64,
            flops.gan(flops.mlp(64, [64, 128, 256, 784]), flops.mlp(64, [784, 256, 128, 1])),
            target=1.3, options={"model": "gan", "batch": 64, "latent": 64, "hidden": [128, 256],
                                 "dropout": 0.3, "image_shape": [1, 28, 28]}),
        Row("mlp-vae", "MLP VAE 784-400-20, batch 128", "macro", 128,
            flops.vae(flops.mlp(128, [784, 400]), [flops.linear(128, 400, 20)] * 2,
                      flops.mlp(128, [20, 400, 784])),
            options={"model": "vae", "batch": 128, "hidden": 400, "latent": 20,
                     "image_shape": [1, 28, 28]}),
    ]


def _convolutional(quick: bool) -> list[Row]:
    big, n = (8, 32) if quick else (64, 128)
    found = [Row(f"dcgan-64x64-w{width}",
                 f"DCGAN 64x64x3, width {width}, batch {big}, both updates", "macro", big,
                 flops.dcgan(big, 3, 64, width, 100), target=1.1,
                 options={"model": "dcgan", "batch": big, "width": width, "latent": 100,
                          "image_shape": [3, 64, 64]}) for width in (32, 64)]
    found.append(Row(
        "conv-vae", f"Conv VAE 28x28, width 32, batch {n}", "macro", n,
        flops.vae([flops.conv(n, 1, 32, 4, 14), flops.conv(n, 32, 64, 4, 7)],
                  [flops.linear(n, 3136, 20)] * 2,
                  [flops.linear(n, 20, 3136), flops.conv_transpose(n, 64, 32, 4, 7),
                   flops.conv_transpose(n, 32, 1, 4, 14)]),
        target=1.3, options={"model": "conv-vae", "batch": n, "width": 32, "latent": 20,
                             "image_shape": [1, 28, 28]}))
    return found


_GPT = {"vocabulary": 65, "layers": 4, "heads": 4, "width": 128}


def _text(quick: bool) -> list[Row]:
    n, length = (8, 12) if quick else (32, 32)
    words, e, h, z = 2000, 128, 256, 32
    step = (2 * flops.linear(n, h, z) + flops.linear(n, z, 2 * h)
            + flops.recurrent(length, n, e, h, 4) + flops.recurrent(length, n, e + z, h, 4)
            + flops.linear(n * length, h, words))
    vae = Row("lstm-vae", f"LSTM text VAE, {words} words, hidden {h}, batch {n} x {length}",
              "macro", n * length, 3 * step, target=1.1,
              options={"model": "lstm-vae", "batch": n, "length": length, "vocabulary": words,
                       "embedding": e, "hidden": h, "latent": z})
    gpt = {**_GPT, "model": "gpt", "batch": 12, "block": 64}
    batch, vocabulary = 8 if quick else 32, 4000
    translation = {"model": "translation", "batch": batch, "source": 24, "target": 24, "layers": 2,
                   "heads": 4, "width": 128, "feed_forward": 512, "vocabulary": vocabulary,
                   "dropout": 0.1}
    return [
        vae,
        Row("char-gpt", "Char GPT 4 layers, 4 heads, width 128, batch 12 x 64, AdamW", "macro",
            12 * 64, 3 * flops.gpt(12, 64, 4, 4, 128, 65), target=1.1, options=gpt),
        Row("translation", f"Transformer 2+2 layers, width 128, {vocabulary} words, batch "
            f"{batch} x 24, padded", "macro", batch * 24,
            3 * flops.translation(batch, 24, 24, 2, 4, 128, 512, vocabulary),
            target=1.1, options=translation)]


def sampling_rows(quick: bool = False) -> list[Row]:
    """Tokens from the GPT with a cache of keys and values; images from generator and decoder."""
    new = 15 if quick else 255
    found = [Row(f"gpt-sampling-b{n}", f"Char GPT samples {new} tokens with KV cache, batch {n}",
                 "sampling", n * new, target=1.1,
                 options={**_GPT, "model": "gpt-sampling", "batch": n, "block": new + 1,
                          "new": new, "temperature": 0.8}) for n in (1, 16)]
    big, n = (8, 32) if quick else (64, 128)
    up = [flops.linear(big, 100, 512 * 16)] + [
        flops.conv_transpose(big, a, b, 4, s)
        for a, b, s in ((512, 256, 4), (256, 128, 8), (128, 64, 16), (64, 3, 32))]
    found.append(Row(
        "dcgan-sampling", f"DCGAN 64x64x3, width 64: {big} images", "sampling", big, sum(up),
        target=1.1, options={"model": "dcgan-sampling", "batch": big, "width": 64, "latent": 100,
                             "image_shape": [3, 64, 64]}))
    decoder = (flops.linear(n, 20, 3136) + flops.conv_transpose(n, 64, 32, 4, 7)
               + flops.conv_transpose(n, 32, 1, 4, 14))
    found.append(Row(
        "vae-sampling", f"Conv VAE 28x28, width 32: {n} images", "sampling", n, decoder,
        target=1.1, options={"model": "vae-sampling", "batch": n, "width": 32, "latent": 20,
                             "image_shape": [1, 28, 28]}))
    return found
