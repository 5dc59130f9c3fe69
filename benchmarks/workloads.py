"""tinygen's side: the work of each row of `rows.py`; `jitted.py` runs the same under `tg.jit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import models, nn, optim
from tinygen.generate import sample
from tinygen.nn import functional as F

from . import text_models
from .operations import Library, Work, micro
from .rows import Row
from .sentences import sentences

__all__ = ["LIBRARY", "load", "version"]

LIBRARY = Library(nn, F, optim, tg.no_grad, tg.asarray,
                  lambda a: tg.Tensor(a, requires_grad=True))


def version() -> str:
    """What was measured, for the report."""
    return f"tinygen {tg.__version__} eager, NumPy {np.__version__}"


Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def load(row: Row, compile: Compile = lambda update: update) -> Work:
    """The work of a row, with weights as the seed draws them; `compile` is given the functions
    that make a training step, or images, of tensors alone."""
    tg.manual_seed(0)
    if row.group == "micro":
        return micro(LIBRARY, row.options)
    return _LOADERS[row.options["model"]](row.options, compile)


# -- images -----------------------------------------------------------------------------------


def _mlp(o: dict[str, Any], compile: Compile) -> Work:
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(),
                          nn.Linear(16, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    x = tg.asarray(draw.standard_normal((o["batch"], 2), np.float32))
    target = tg.asarray((draw.random((o["batch"], 1)) < 0.5).astype(np.float32))

    def update() -> Any:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()
    return _training(compile(update), model)


_BUILT = {"dcgan-sampling": "dcgan", "vae-sampling": "conv-vae"}


def _model(o: dict[str, Any]) -> Any:
    """A model of the library: gan, dcgan, vae or conv-vae."""
    names = ("latent", "hidden", "width", "dropout")
    return models.build(_BUILT.get(o["model"], o["model"]), o["image_shape"],
                        **{k: o[k] for k in names if k in o})


def _library(rate: float) -> Callable[[dict[str, Any], Compile], Work]:
    """The library's own training step of a model, with Adam at this learning rate."""
    def load_model(o: dict[str, Any], compile: Compile) -> Work:
        model = _model(o)
        optimizers = model.configure_optimizers(rate)
        shape = (o["batch"], *model.image_shape)
        images = tg.asarray(np.random.default_rng(0).random(shape, np.float32))
        update = compile(model.training_step)
        return _training(lambda: next(iter(update(images, None, optimizers).values())), model)
    return load_model


def _images(o: dict[str, Any], compile: Compile) -> Work:
    """Noise, and images from it."""
    model = _model(o)
    make = compile(lambda: model.generate(model.noise(o["batch"])))

    def step() -> None:
        make()
    return _work(step, model)


def _training(update: Callable[[], Any], model: Any) -> Work:
    """Steps that end when the loss is a number."""
    return _work(lambda: update().item(), model)


def _work(step: Callable[[], float | None], model: Any) -> Work:
    return Work(step, sum(p.size for p in model.parameters()), [model])


# -- text -------------------------------------------------------------------------------------


def _gpt(o: dict[str, Any], compile: Compile) -> Work:
    model = text_models.GPT(o["vocabulary"], o["block"], o["layers"], o["heads"], o["width"])
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                             {"params": others, "weight_decay": 0.0}], lr=1e-3, betas=(0.9, 0.99))
    text = np.random.default_rng(0).integers(0, o["vocabulary"], (o["batch"], o["block"] + 1))
    tokens, following = tg.asarray(text[:, :-1]), tg.asarray(text[:, 1:].reshape(-1))

    def update() -> Any:
        loss = F.cross_entropy(model(tokens).reshape(-1, o["vocabulary"]), following)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()
    return _training(compile(update), model)


def _gpt_sampling(o: dict[str, Any], compile: Compile) -> Work:
    model = text_models.GPT(o["vocabulary"], o["block"], o["layers"], o["heads"], o["width"])
    model.eval()
    prompt = np.zeros((o["batch"], 1), np.int64)

    def step() -> None:
        sample(model, prompt, o["new"], temperature=o["temperature"],
               cache=nn.DecodingCache(o["layers"]))
    return _work(step, model)


def _lstm_vae(o: dict[str, Any], compile: Compile) -> Work:
    model = text_models.TextVAE(o["vocabulary"], o["embedding"], o["hidden"], o["latent"])
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    text = np.random.default_rng(0).integers(1, o["vocabulary"], (o["length"], o["batch"]))
    tokens = tg.asarray(text)                                           # (T, N)

    def update() -> Any:
        logits, mu, logvar = model(tokens)
        loss = F.cross_entropy(logits.reshape(-1, o["vocabulary"]), tokens.reshape(-1),
                               reduction="sum")
        loss = (loss + 0.5 * (mu * mu + logvar.exp() - 1 - logvar).sum()) / o["batch"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return _training(compile(update), model)


def _translation(o: dict[str, Any], compile: Compile) -> Work:
    model = text_models.Translator(o["vocabulary"], max(o["source"], o["target"] + 1), o["layers"],
                                   o["heads"], o["width"], o["feed_forward"], o["dropout"])
    optimizer = optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98))
    source, target = (tg.asarray(a) for a in sentences(o))
    given, following = target[:, :-1], target[:, 1:].reshape(-1)

    def update() -> Any:
        logits = model(source, given)
        loss = F.cross_entropy(logits.reshape(-1, o["vocabulary"]), following, ignore_index=0,
                               label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return _training(compile(update), model)


_LOADERS: dict[str, Callable[[dict[str, Any], Compile], Work]] = {
    "mlp": _mlp, "gan": _library(2e-4), "dcgan": _library(2e-4), "vae": _library(1e-3),
    "conv-vae": _library(1e-3), "lstm-vae": _lstm_vae, "gpt": _gpt, "translation": _translation,
    "gpt-sampling": _gpt_sampling, "dcgan-sampling": _images, "vae-sampling": _images,
}
