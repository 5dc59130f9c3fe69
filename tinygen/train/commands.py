"""What the subcommands of `tinygen` do."""

from __future__ import annotations

import shlex
import time
import warnings
from pathlib import Path
from typing import Any

from ..provenance import Provenance, embed
from .errors import TrainingError, TrainingWarning, UsageError
from .origin import data_name, origin
from .progress import describe_seconds
from .runs import (
    ELSEWHERE,
    MODELS,
    RECIPES,
    TEXT_MODELS,
    Run,
    choose,
    device_named,
    is_folder,
    load_data,
    open_run,
)

__all__ = ["interpolate", "reconstruct", "sample", "train"]

EPOCHS = 10
SMALL_EPOCHS = 100     # the 1500 digits make an epoch of half a second
BATCH_SIZE = 64
TRAINABLE = (*MODELS, *RECIPES)
MODEL_OPTIONS = ("width", "hidden", "latent", "loss", "label_smoothing", "gradient_penalty",
                 "n_critic", "beta", "gamma", "likelihood", "block", "layers", "heads", "dropout",
                 "damage")
# Options that make a run what it is: a resumed run keeps its own.
FIXED = ("data", "size", "batch_size", "lr", "seed", "clip_norm", "accumulate", "ema_decay",
         "precision", "conditional", *MODEL_OPTIONS)
TRAINER_OPTIONS = ("seed", "lr", "clip_norm", "accumulate", "ema_decay", "jit", "precision",
                   "sample_every", "checkpoint_every", "log_every", "keep")

Options = dict[str, Any]


# -- train ----------------------------------------------------------------------------------------


def train(model: str | None, run: str | None, resume: bool, quiet: bool, given: Options) -> None:
    """`tinygen train`: start a run, or continue one."""
    given = {k: v for k, v in given.items() if v is not None}
    source: bool | Path = False
    if model is not None and resume and model not in TRAINABLE and (
            run in TRAINABLE or run is None):
        model, run = run, model                       # tinygen train --resume RUN
    start_over = model in TRAINABLE and run is None and _is_new(given.get("out"))
    if resume and not start_over:      # with the whole recipe, --resume may come before the run
        model, options, folder, source = _continued(model, run, given)
    else:
        if run is not None:
            raise UsageError(f"unexpected argument {run}; the run's folder is --out (or, to "
                             "continue one, RUN with --resume)")
        if model is None:
            raise UsageError(f"which model? tinygen train MODEL, one of {', '.join(TRAINABLE)}")
        if model in ELSEWHERE:
            raise UsageError(f"there is no recipe for {model}; python examples/{ELSEWHERE[model]}"
                             ".py trains it")
        choose("model", model, TRAINABLE)
        options = given
        folder = _new_folder(model, options)
    trainer = _trainer(model, options, folder, quiet)
    began = time.monotonic()
    trainer.fit(resume=source)
    if not quiet:
        _farewell(trainer, time.monotonic() - began, trainer.first_step)


def _continued(model: str | None, run: str | None, given: Options,
               ) -> tuple[str, Options, Path, bool | Path]:
    """Model, options, folder and checkpoint of the run to continue."""
    place = run or given.get("out")
    if place is None:
        raise UsageError("--resume needs the run: tinygen train --resume RUN")
    if run and given.get("out") and Path(run) != Path(given["out"]):
        raise UsageError(f"--resume {run} and --out {given['out']} name two folders; a run "
                         "continues in its own")
    found = open_run(place)
    stored: Options = found.config.get("options") or {}
    if "data" not in stored:
        raise UsageError(f"{place} was not started by `tinygen train`; continue it with "
                         "Trainer.fit(resume=True)")
    name = found.config.get("recipe", found.config["model"])
    clashes = [] if model in (None, name) else [f"the model {model} (it has {name})"]
    for key in FIXED:
        if key in given and _value(key, given[key]) != _value(key, stored.get(key)):
            clashes.append(f"{_flag(key)} {given[key]} (it has {stored.get(key, 'the default')})")
    if clashes:
        raise UsageError(f"{place} continues with its own options; these differ: "
                         f"{', '.join(clashes)}. Leave them out, or start a new run in another "
                         "--out")
    options = {**stored, **given}
    if "steps" in given or "epochs" in given:   # one takes the place of the other
        options.pop("epochs" if "steps" in given else "steps", None)
    return name, options, found.folder, found.checkpoint or True


def _value(key: str, value: Any) -> Any:
    if key == "data" and value is not None and is_folder(value):
        return str(Path(value).expanduser().resolve())
    if key == "hidden" and value is not None:
        return _widths(value)
    return value


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _new_folder(model: str, options: Options) -> Path:
    """The folder for a new run; it must not hold anything yet."""
    data = options.setdefault("data", {"gpt": "tinyshakespeare", "translator": "tatoeba",
                                       "text-vae": "names", **RECIPES}.get(model, "digits"))
    if is_folder(data) and Path(data).expanduser().exists():
        options["data"] = str(Path(data).expanduser().resolve())  # for a resume from elsewhere
    folder = Path(options.get("out") or Path("runs", f"{model}-{Path(data).stem}"))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; give a folder")
    if not _is_new(folder):
        what = "a run" if (folder / "config.json").exists() else "files"
        helps = (f"continue it with: {_resume_command(folder)}, or " if what == "a run" else "")
        raise UsageError(f"{folder} holds {what} already; {helps}choose another --out")
    return folder


def _is_new(folder: str | Path | None) -> bool:
    """Whether a run can start in a folder: it has nothing, or what a kill at the start left."""
    if folder is None or not Path(folder).is_dir():
        return folder is not None
    return not any(entry.is_file() or any(entry.iterdir()) for entry in Path(folder).iterdir()
                   if not entry.name.startswith("."))


def _resume_command(folder: Path) -> str:
    return f"tinygen train --resume {shlex.quote(str(folder))}"


def _trainer(name: str, options: Options, folder: Path, quiet: bool) -> Any:
    from .. import random
    from ..data import DataLoader
    from .trainer import Trainer

    if "epochs" in options and "steps" in options:
        raise UsageError("give --epochs or --steps, not both")
    device = device_named(options.get("device", "cpu"))
    if not 0 <= options.get("ema_decay", 0) <= 1:
        raise UsageError(f"--ema-decay {options['ema_decay']}: it lies between 0 and 1, "
                         "such as 0.999")
    seed = options.setdefault("seed", 0)
    if name in TEXT_MODELS or name in RECIPES:
        from .recipes import recipe_trainer
        from .sentences import sentence_trainer
        from .text import text_trainer
        from .translation import translator_trainer

        makers = {"translator": translator_trainer, "text-vae": sentence_trainer,
                  "gpt": text_trainer}
        make = makers.get(name, recipe_trainer)
        return make(name, options, folder, quiet, device, MODEL_OPTIONS, TRAINER_OPTIONS,
                    _resume_command(folder))
    dataset = load_data(options["data"], options.get("size"))
    random.manual_seed(seed)
    model = _model(name, dataset, options).to(device=device)
    batch = options.setdefault("batch_size", min(BATCH_SIZE, len(dataset)))
    if batch > len(dataset):
        raise UsageError(f"--batch-size {batch}: {options['data']} has only {len(dataset)} images")
    loader = DataLoader(dataset, batch, shuffle=True, drop_last=True, seed=seed,
                        prefetch=options.get("prefetch", 2))
    small = SMALL_EPOCHS if options["data"].lower() == "digits" else EPOCHS
    epochs = options.get("epochs", None if "steps" in options else small)
    if options.get("accumulate", 1) > 1 and getattr(model, "n_critic", 1) > 1:
        raise UsageError(f"--accumulate does not go with {name}, which counts the batches of each "
                         "side (--n-critic)")
    return Trainer(
        model, loader, folder, epochs=epochs, steps=options.get("steps"),
        eval_loader=_eval_loader(model, options), progress=not quiet,
        config={"options": {k: v for k, v in options.items() if k not in ("out", "device")}},
        resume_with=_resume_command(folder),
        **{k: options[k] for k in TRAINER_OPTIONS if k in options})


def _model(name: str, dataset: Any, options: Options) -> Any:
    from .. import models

    wanted = {k: options[k] for k in MODEL_OPTIONS if k in options}
    known = models.option_names(name, dataset.image_shape)
    for key in wanted:
        if key not in known:
            fitting = ", ".join(_flag(k) for k in MODEL_OPTIONS if k in known)
            raise UsageError(f"{_flag(key)} does not apply to {name} on this data; these do: "
                             f"{fitting}")
    if "hidden" in wanted:
        widths = _widths(wanted["hidden"])
        wanted["hidden"] = widths[0] if name == "vae" else widths
        if name == "vae" and len(widths) > 1:
            raise UsageError(f"--hidden {options['hidden']}: vae has one width, such as 400")
    classes = None
    if options.get("conditional"):
        classes = dataset.num_classes
        if not classes:
            raise UsageError(f"--conditional: {options['data']} has no classes (a folder has them "
                             "when its pictures lie in subfolders)")
    try:
        return models.build(name, dataset.image_shape, classes, **wanted)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in str(text).split(","))
    except ValueError:
        raise UsageError(f"--hidden {text}: widths are whole numbers, such as 400 or "
                         "256,512") from None


def _eval_loader(model: Any, options: Options) -> Any:
    """Test images, for a model that can be evaluated on data that has them."""
    from ..data import DataLoader

    if is_folder(options["data"]) or not hasattr(model, "encoder"):
        return None
    test = load_data(options["data"], options.get("size"), train=False)
    return DataLoader(test, min(500, len(test)))


def _farewell(trainer: Any, seconds: float, first_step: int) -> None:
    out = trainer.out
    if trainer.step == first_step:
        print(f"The run is complete: {trainer.step} steps. --epochs N or --steps N trains longer.")
    else:
        print(f"Done: step {trainer.step}, {describe_seconds(seconds)}.")
    written = (out / "samples.txt").exists()
    for what, name in (("samples", "samples.txt" if written else "samples.png"),
                       ("curves", "curves.png"), ("metrics", "metrics.csv")):
        if (out / name).exists():
            print(f"  {what:9}{out / name}")
    if "recipe" in trainer.config:
        from .recipes import what_next

        return print(f"Use it: {what_next(trainer.config)}")
    more = "--length 500 --temperature 0.8" if written else "--n 64 --out grid.png"
    if trainer.config["model"] == "translator":
        more = '--prompt "A sentence."'
    elif trainer.config["model"] == "text-vae":
        more = "--n 20 --temperature 0.8"
    print(f"More samples: tinygen sample {shlex.quote(str(out))} {more}")


# -- what a trained model makes -------------------------------------------------------------------


def sample(run: str, n: int | None, out: str | None, seed: int, label: int | None,
           checkpoint: str | None, device: str, **writing: Any) -> None:
    """`tinygen sample`: a grid of images from noise, or texts from a language model."""
    from ..ops import concat
    from .callbacks import grid_layout, sample_inputs

    found, model = _load(run, checkpoint, device)
    given = {k: v for k, v in writing.items() if v is not None}
    if model.name in TEXT_MODELS:
        from .sentences import write_sentences
        from .text import write_text
        from .translation import write_translation

        if label is not None:
            raise UsageError(f"--label {label}: {run} is a {model.name}, whose texts have no "
                             "classes; --prompt says what one begins with")
        prompt = given.pop("prompt", None)
        if model.name == "translator":
            return write_translation(found, model, n, out, seed, prompt, given)
        if model.name == "text-vae":
            if prompt is not None:
                given["prompt"] = prompt
            return write_sentences(found, model, n or 20, out, seed, given)
        length = given.pop("length", 500)
        return write_text(found, model, n or 1, out, seed, prompt, length, **given)
    if given:
        raise UsageError(f"{_flag(next(iter(given)))} is for models of text; {run} is a "
                         f"{model.name}")
    n = n or 64
    path = _picture(out, found, "grid.png")
    if label is not None:
        if model.num_classes is None:
            raise UsageError(f"--label {label}: this model was trained without --conditional")
        if not 0 <= label < model.num_classes:
            raise UsageError(f"--label {label}: classes are 0 to {model.num_classes - 1}")
    z, labels = sample_inputs(model, n, seed, label)
    parts = [model.generate(z[i:i + 256], None if labels is None else labels[i:i + 256])
             for i in range(0, n, 256)]
    cols = grid_layout(model, n)[0] if label is None else None
    _save(concat(parts, axis=0), path, model, origin(found.config, seed, label=label), cols)


def interpolate(run: str, rows: int, steps: int, out: str | None, seed: int,
                checkpoint: str | None, device: str) -> None:
    """`tinygen interpolate`: each row of images leads from one latent to another."""
    import numpy as np

    from ..models import interpolate as between
    from .callbacks import sample_inputs

    found, model = _load(run, checkpoint, device)
    if model.name == "text-vae":
        from .sentences import write_walks

        return write_walks(found, model, rows, steps, out, seed)
    if model.name in TEXT_MODELS:
        raise UsageError(f"{run} is a {model.name}, which has no latents to walk between; "
                         "tinygen sample lets it write")
    path = _picture(out, found, "interpolation.png")
    z, _ = sample_inputs(model, 2 * rows, seed)
    walk = between(z[:rows], z[rows:], steps, spherical=True)          # (steps, rows, latent)
    walk = walk.transpose((1, 0, 2)).reshape(rows * steps, -1)
    labels = None
    if model.num_classes is not None:
        labels = np.repeat(np.arange(rows) % model.num_classes, steps)
    _save(model.generate(walk, labels), path, model, origin(found.config, seed), cols=steps)


def reconstruct(run: str, n: int, out: str | None, data: str | None, checkpoint: str | None,
                device: str) -> None:
    """`tinygen reconstruct`: rows of originals, each above its reconstructions."""
    from ..data import DataLoader
    from ..ops import asarray, concat

    found, model = _load(run, checkpoint, device)
    path = _picture(out, found, "reconstruction.png")
    if model.name in TEXT_MODELS or not hasattr(model, "encoder"):
        what = "no encoder of images" if model.name == "text-vae" else "no encoder"
        raise UsageError(f"{run} is a {model.name}, which has {what} and cannot reconstruct "
                         "images; vae, conv-vae and vae-gan can")
    options = found.config.get("options", {})
    name = data or options.get("data", "digits")
    shape = model.image_shape
    dataset = load_data(name, options.get("size") if data is None else shape[1], is_folder(name))
    if tuple(dataset.image_shape) != shape:
        raise UsageError(f"{name} has images {tuple(dataset.image_shape)}; this model wants "
                         f"{shape}")
    batch = next(iter(DataLoader(dataset, min(n, len(dataset)), shuffle=True, prefetch=0)))
    images, labels = batch if isinstance(batch, (tuple, list)) else (batch, None)
    if model.num_classes is not None and (dataset.num_classes or 0) != model.num_classes:
        raise UsageError(f"{name} has no labels for the {model.num_classes} classes of this model")
    low, high = model.value_range
    copies = model.reconstruct(images, labels).to("cpu")
    cols = min(len(images), 16)
    blank = asarray(images.numpy()[:1] * 0)
    rows = []
    for i in range(0, len(images), cols):
        for part in (images[i:i + cols] * (high - low) + low, copies[i:i + cols]):
            rows += [part] + [blank + low] * (cols - len(part))
    _save(concat(rows, axis=0), path, model,
          origin(found.config, None, reconstructed=data_name(name)), cols)


def _load(run: str, checkpoint: str | None, device: str) -> tuple[Run, Any]:
    found = open_run(run)
    if "recipe" in found.config:
        from .recipes import refuse_sampling

        refuse_sampling(found)
    return found, found.model(checkpoint, device, lambda text: warnings.warn(
        text, TrainingWarning, stacklevel=4))


def _picture(out: str | None, run: Run, name: str) -> Path:
    path = Path(out) if out else run.folder / name
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path}: pictures are PNG files; give a name that ends in .png")
    return path


def _save(images: Any, path: Path, model: Any, record: Provenance, cols: int | None = None) -> None:
    from ..viz.png import encode_png, write_atomic
    from .callbacks import grid_of

    try:
        picture = encode_png(grid_of(images, model.value_range, cols, side=1024))
        write_atomic(path, embed(picture, "png", record))
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from None
    print(path)
