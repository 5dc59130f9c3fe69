"""Runs of the models that have no command of their own: `tinygen train restorer` and its like.

A recipe says which data and settings a name stands for; those are of the example that it names.
The rest is the same for all: two loaders, a model, optimizers, a schedule for each, a Trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..serialization import write_atomically
from .callbacks import Callback, SampleGrid
from .errors import UsageError, refuse_options
from .recipe_data import (
    MADE_UP,
    Options,
    Parts,
    factorization,
    inpainter,
    mult_vae,
    restorer,
    sentiment,
    summarizer,
    two_kinds,
)
from .runs import choose, is_folder

if TYPE_CHECKING:
    from .runs import Run
    from .trainer import Trainer

__all__ = ["TABLE", "Recipe", "recipe_trainer", "refuse_sampling", "what_next"]

Schedule = Callable[[Any, int, int], Any]


def _few_steps_up(optimizer: Any, steps: int, epoch: int) -> Any:
    """The rate rises for 50 steps and falls to 0 along a cosine."""
    from ..optim.lr_scheduler import WarmupCosine

    return WarmupCosine(optimizer, min(50, steps // 4), steps)


def _half_an_epoch_up(optimizer: Any, steps: int, epoch: int) -> Any:
    """The rate rises for half an epoch and falls to 0 along a cosine."""
    from ..optim.lr_scheduler import WarmupCosine

    return WarmupCosine(optimizer, min(epoch, steps) // 2, steps)


def _down_in_the_second_half(optimizer: Any, steps: int, epoch: int) -> Any:
    """The rate stays, then falls to 0 along a line."""
    from ..optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda i: min(1.0, 2 - 2 * i / steps))


def _down(optimizer: Any, steps: int, epoch: int) -> Any:
    """The rate falls to 0 along a line."""
    from ..optim.lr_scheduler import LinearLR

    return LinearLR(optimizer, 1.0, 0.0, total_iters=steps)


@dataclass(frozen=True)
class Recipe:
    """What `tinygen train NAME` stands for.

    `parts` loads the data and says how to build the model `kind` of `tinygen.models`. `data` are
    the names that `--data` takes, the default first; `folder` says whether it takes a folder too.
    `options` are the model's own, `defaults` what is not given, with `small` in place of it for
    data that comes with tinygen. `use` is what to call on the trained model.
    """

    parts: Callable[[Options], Parts]
    kind: str
    use: str
    example: str
    data: tuple[str, ...]
    options: tuple[str, ...]
    defaults: Mapping[str, Any]
    small: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    folder: bool = False


PICTURES = ("digits", "mnist", "fashion-mnist", "celeba")
RATINGS = ("ml-latest-small", "drawn")
TABLE = {
    "restorer": Recipe(
        restorer, "Restorer", "restore", "restore_images", PICTURES, ("damage", "width", "size"),
        {"epochs": 3, "batch_size": 64, "lr": 2e-3, "width": 16, "damage": "noise"},
        {"epochs": 20, "batch_size": 50, "width": 8, "size": 16}, _few_steps_up, folder=True),
    "inpainter": Recipe(
        inpainter, "Inpainter", "restore", "restore_images", PICTURES, ("width", "size"),
        {"epochs": 4, "batch_size": 32, "lr": 2e-3, "width": 16},
        {"epochs": 20, "batch_size": 50, "width": 8, "size": 16}, _few_steps_up, folder=True),
    "cycle-gan": Recipe(
        two_kinds, "CycleGAN", "translate", "cycle_gan", ("pictures", "drawn"),
        ("width", "layers", "size"),
        {"steps": 700, "batch_size": 4, "lr": 3e-4, "width": 16, "layers": 4, "size": 64},
        {"lr": 1e-3, "width": 4, "layers": 1, "size": 16}, _down_in_the_second_half, folder=True),
    "sentiment": Recipe(
        sentiment, "AttentionClassifier", "attention", "sentiment", ("rt-polarity",),
        ("width", "hidden", "layers", "heads", "dropout"),
        {"epochs": 4, "batch_size": 50, "lr": 1e-3, "width": 64}, {}, _half_an_epoch_up),
    "mult-vae": Recipe(
        mult_vae, "MultVAE", "scores", "recommend", RATINGS,
        ("hidden", "latent", "beta", "dropout"),
        {"epochs": 100, "batch_size": 64, "lr": 1e-3, "hidden": "200", "latent": 64, "beta": 0.2},
        {"epochs": 40, "batch_size": 32, "lr": 3e-3, "hidden": "64", "latent": 16}),
    "factorization": Recipe(
        factorization, "MatrixFactorization", "predict", "recommend", RATINGS, ("latent",),
        {"epochs": 8, "batch_size": 1024, "lr": 5e-3, "latent": 100},
        {"epochs": 60, "lr": 2e-2, "latent": 8}, _down),
    "summarizer": Recipe(
        summarizer, "SpanExtractor", "probabilities", "summarize_chinese", ("csl-title",),
        ("width", "heads", "dropout"),
        {"epochs": 2, "batch_size": 16, "lr": 2e-3, "width": 64, "clip_norm": 1.0}, {},
        _half_an_epoch_up),
}


def recipe_trainer(name: str, options: Options, folder: Path, quiet: bool, device: str,
                   image_options: tuple[str, ...], trainer_options: tuple[str, ...],
                   resume_with: str) -> Trainer:
    """A trainer of a recipe's model on its data, evaluated on what is held out."""
    from .. import models, random
    from .trainer import Trainer

    recipe = TABLE[name]
    refuse_options(name, options, image_options, recipe.options)
    free_batch = "batch_size" not in options
    _complete(recipe, options)
    parts = recipe.parts(options)
    if "sample_every" in options and parts.rows is None:
        raise UsageError(f"--sample-every does not apply to {name}, which makes no pictures")
    if free_batch:
        options["batch_size"] = min(options["batch_size"], len(parts.train))
    loader, evaluation = (_loader(parts, options, train) for train in (True, False))
    total = options.get("steps") or options["epochs"] * len(loader)
    random.manual_seed(options["seed"])
    try:
        model = getattr(models, recipe.kind)(**parts.arguments, **parts.beginnings)
        optimizers = model.configure_optimizers(options["lr"])
    except ValueError as error:
        raise UsageError(str(error)) from None
    parts.prepare(model)
    callbacks: list[Callback] = [KeepFiles(folder, parts.files)]
    if parts.rows is not None:
        callbacks.append(SampleRows(folder, parts.rows, options.get("sample_every")))
    schedule = recipe.schedule
    return Trainer(
        model.to(device=device), loader, folder, epochs=options.get("epochs"),
        steps=options.get("steps"), optimizers=optimizers, schedulers=schedule and {
            key: schedule(o, total, len(loader)) for key, o in optimizers.items()},
        schedule_per="step", eval_loader=evaluation, progress=not quiet, samples=0,
        callbacks=callbacks, resume_with=resume_with,
        config={"options": {k: v for k, v in options.items() if k not in ("out", "device")},
                "recipe": name, "arguments": parts.arguments},
        **{k: options[k] for k in trainer_options if k in options and k != "lr"})


def _complete(recipe: Recipe, options: Options) -> None:
    """Check the name of the data, and set what was not given as the recipe says."""
    key = options["data"].lower().replace("_", "-")
    if key in recipe.data:
        options["data"] = key
    elif not (recipe.folder and is_folder(options["data"])):
        choose("data set", options["data"], recipe.data)
    settings = {**recipe.defaults, **(recipe.small if key in MADE_UP else {})}
    if "steps" in options or "epochs" in options:
        settings = {k: v for k, v in settings.items() if k not in ("steps", "epochs")}
    for option, value in settings.items():
        options.setdefault(option, value)


def _loader(parts: Parts, options: Options, train: bool) -> Any:
    """Batches of the training part in random order, or of what is held out, always the same."""
    from ..data import DataLoader
    from ..text import BucketSampler

    data, batch = (parts.train, options["batch_size"]) if train else (parts.held_out, 128)
    if batch > len(data) and train:
        raise UsageError(f"--batch-size {batch}: {options['data']} has only {len(data)} samples "
                         "to learn from")
    seed, prefetch = options["seed"], options.get("prefetch", 2)
    if parts.collate is None:
        return DataLoader(data, min(batch, len(data)), shuffle=train, seed=seed, prefetch=prefetch)
    sampler = BucketSampler([len(sample[0]) for sample in data], batch, pool=20, shuffle=train,
                            seed=seed)
    return DataLoader(data, batch_sampler=sampler, collate_fn=parts.collate, seed=seed,
                      prefetch=prefetch)


class KeepFiles(Callback):
    """Writes what belongs to a model, such as the words it knows, into the run's folder."""

    def __init__(self, folder: Path, files: Mapping[str, Callable[[Path], Any]]):
        self.folder, self.files = folder, files

    def on_train_begin(self, trainer: Trainer) -> None:
        """Write all of them; each has a function that is given its path."""
        for name, write in self.files.items():
            write(self.folder / name)


class SampleRows(SampleGrid):
    """What the model makes of pictures that are held out, a row of pictures for each stage.

    Args:
        folder: the run's folder.
        rows: a function of the model that gives equally many pictures (N, C, H, W) in [0, 1] each.
        every: how often, in steps; None for the end of every epoch.
    """

    def __init__(self, folder: Path, rows: Callable[[Any], list[Any]], every: int | None = None):
        super().__init__(folder, every)
        self.rows = rows

    def draw(self, trainer: Trainer) -> None:
        """Write both files."""
        from ..ops import asarray, concat
        from ..provenance import embed
        from ..viz.png import encode_png
        from .callbacks import grid_of
        from .origin import origin

        with trainer.undisturbed():
            rows = [asarray(row) for row in self.rows(trainer.model)]
        grid = grid_of(concat(rows, axis=0), (0.0, 1.0), len(rows[0]))
        picture = embed(encode_png(grid), "png", origin(trainer.config, None, trainer.step))
        write_atomically(self._path(trainer), picture)
        write_atomically(self.folder / "samples.png", picture)


# -- what to do with a run ------------------------------------------------------------------------


def what_next(config: Mapping[str, Any]) -> str:
    """How to use the model of a run."""
    recipe = TABLE[config["recipe"]]
    return (f"tinygen.models.{recipe.kind}(**arguments in config.json).{recipe.use}(...), as in "
            f"examples/{recipe.example}.py")


def refuse_sampling(run: Run) -> None:
    """Raise for what the commands that draw and write cannot do with the run of a recipe."""
    name = run.config.get("recipe")
    if name in TABLE:
        raise UsageError(f"{run.folder} is a {name}, which is no model to draw from; use "
                         + what_next(run.config))
