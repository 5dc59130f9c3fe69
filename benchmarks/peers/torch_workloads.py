"""PyTorch's side: the same architectures, sizes and hyperparameters, written as its users do."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..operations import Library, Work, micro
from ..rows import Row
from ..sentences import sentences
from .torch_models import ConvVAE, DenseVAE, conv_pair, dense_pair
from .torch_text import GPT, TextVAE, Translator, sample

__all__ = ["LIBRARY", "load", "version"]

Wrap = Callable[[Any], Any]      # what is done to a model before it runs: nothing, or compiling

LIBRARY = Library(nn, F, torch.optim, torch.no_grad, torch.from_numpy,
                  lambda a: torch.from_numpy(a).requires_grad_())

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def version() -> str:
    """What was measured, for the report."""
    return f"PyTorch {torch.__version__} eager"


def load(row: Row, wrap: Wrap = lambda f: f) -> Work:
    """The work of a row, with weights as the seed draws them."""
    torch.manual_seed(0)
    if row.group == "micro":
        return micro(LIBRARY, row.options)
    return _LOADERS[row.options["model"]](row.options, wrap)


def _work(step: Callable[[], float | None], *modules: nn.Module) -> Work:
    return Work(step, sum(p.numel() for m in modules for p in m.parameters()), list(modules))


# -- images -------------------------------------------------------------------------------------


def _mlp(o: dict[str, Any], wrap: Wrap) -> Work:
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(),
                          nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.standard_normal((o["batch"], 2), np.float32))
    target = torch.from_numpy((draw.random((o["batch"], 1)) < 0.5).astype(np.float32))
    run = wrap(model)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(run(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()
    return _work(step, model)


def _images(o: dict[str, Any]) -> torch.Tensor:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.random((o["batch"], *o["image_shape"]), np.float32))


def _gan(o: dict[str, Any], wrap: Wrap) -> Work:
    return _gan_step(*dense_pair(o["latent"], o["hidden"], o["dropout"]), o, wrap)


def _dcgan(o: dict[str, Any], wrap: Wrap) -> Work:
    return _gan_step(*conv_pair(o["image_shape"], o["width"], o["latent"]), o, wrap)


def _gan_step(g: nn.Module, d: nn.Module, o: dict[str, Any], wrap: Wrap) -> Work:
    """D learns from real and generated images, then G from the updated, frozen D."""
    images, n = _images(o), o["batch"]
    side_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    side_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    ones, zeros = torch.ones(n, 1), torch.zeros(n, 1)
    generator, discriminator = wrap(g), wrap(d)

    def step() -> float:
        fake = generator(torch.randn(n, o["latent"]))
        loss = (F.binary_cross_entropy_with_logits(discriminator(images * 2 - 1), ones)
                + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros))
        side_d.zero_grad()
        loss.backward()
        side_d.step()
        d.requires_grad_(False)
        side_g.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake), ones).backward()
        d.requires_grad_(True)
        side_g.step()
        return loss.item()
    return _work(step, g, d)


def _vae(o: dict[str, Any], wrap: Wrap) -> Work:
    model = (DenseVAE(o["hidden"], o["latent"]) if o["model"] == "vae"
             else ConvVAE(o["width"], o["latent"]))
    images, run = _images(o), wrap(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        logits, mu, logvar = run(images)
        loss = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = loss / images.shape[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return _work(step, model)


def _dcgan_sampling(o: dict[str, Any], wrap: Wrap) -> Work:
    generator, discriminator = conv_pair(o["image_shape"], o["width"], o["latent"])
    run = wrap(generator.eval())

    @torch.inference_mode()
    def step() -> None:
        run(torch.randn(o["batch"], o["latent"]))
    return _work(step, generator, discriminator)


def _vae_sampling(o: dict[str, Any], wrap: Wrap) -> Work:
    model = ConvVAE(o["width"], o["latent"]).eval()
    run = wrap(model.decoder)

    @torch.inference_mode()
    def step() -> None:
        torch.sigmoid(run(torch.randn(o["batch"], o["latent"])))
    return _work(step, model)


# -- text ---------------------------------------------------------------------------------------


def _gpt(o: dict[str, Any], wrap: Wrap) -> Work:
    model = GPT(o["vocabulary"], o["block"], o["layers"], o["heads"], o["width"])
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.99))
    text = torch.from_numpy(
        np.random.default_rng(0).integers(0, o["vocabulary"], (o["batch"], o["block"] + 1)))
    tokens, following = text[:, :-1].contiguous(), text[:, 1:].reshape(-1)
    run = wrap(model)

    def step() -> float:
        loss = F.cross_entropy(run(tokens).view(-1, o["vocabulary"]), following)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()
    return _work(step, model)


def _gpt_sampling(o: dict[str, Any], wrap: Wrap) -> Work:
    model = GPT(o["vocabulary"], o["block"], o["layers"], o["heads"], o["width"]).eval()
    prompt, run = torch.zeros(o["batch"], 1, dtype=torch.long), wrap(model)

    def step() -> None:
        sample(model, run, prompt, o["new"], o["temperature"])
    return _work(step, model)


def _lstm_vae(o: dict[str, Any], wrap: Wrap) -> Work:
    model = TextVAE(o["vocabulary"], o["embedding"], o["hidden"], o["latent"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    tokens = torch.from_numpy(                                          # (T, N)
        np.random.default_rng(0).integers(1, o["vocabulary"], (o["length"], o["batch"])))
    run = wrap(model)

    def step() -> float:
        logits, mu, logvar = run(tokens)
        loss = F.cross_entropy(logits.view(-1, o["vocabulary"]), tokens.view(-1), reduction="sum")
        loss = (loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) / o["batch"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return _work(step, model)


def _translation(o: dict[str, Any], wrap: Wrap) -> Work:
    model = Translator(o["vocabulary"], max(o["source"], o["target"] + 1), o["layers"], o["heads"],
                       o["width"], o["feed_forward"], o["dropout"])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98))
    source, target = (torch.from_numpy(a) for a in sentences(o))
    given, following = target[:, :-1].contiguous(), target[:, 1:].reshape(-1)
    run = wrap(model)

    def step() -> float:
        logits = run(source, given)
        loss = F.cross_entropy(logits.view(-1, o["vocabulary"]), following, ignore_index=0,
                               label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return _work(step, model)


_LOADERS: dict[str, Callable[[dict[str, Any], Wrap], Work]] = {
    "mlp": _mlp, "gan": _gan, "dcgan": _dcgan, "vae": _vae, "conv-vae": _vae,
    "lstm-vae": _lstm_vae, "gpt": _gpt, "translation": _translation,
    "gpt-sampling": _gpt_sampling, "dcgan-sampling": _dcgan_sampling,
    "vae-sampling": _vae_sampling,
}
