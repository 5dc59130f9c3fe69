"""Runs of language models: `tinygen train gpt` and `tinygen sample` of what it left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Generator
from ..provenance import embed
from ..serialization import write_atomically
from .callbacks import SampleGrid
from .errors import TrainingError, UsageError, refuse_options
from .origin import origin
from .state import derive_seed

if TYPE_CHECKING:
    from .runs import Run
    from .trainer import Trainer

__all__ = ["TEXT_OPTIONS", "SampleText", "text_trainer", "write_text"]

STEPS = 2000           # with the sizes below, nanoGPT's example for a CPU
BATCH_SIZE = 12
CLIP_NORM = 1.0
HELD_OUT = 0.1         # of the text, its end
TEXT_OPTIONS = ("block", "layers", "heads", "width", "dropout")

Options = dict[str, Any]


def text_trainer(name: str, options: Options, folder: Path, quiet: bool, device: str,
                 image_options: tuple[str, ...], trainer_options: tuple[str, ...],
                 resume_with: str) -> Trainer:
    """A trainer of a language model on the characters of a text; its last tenth is held out."""
    from .. import data, models, random
    from .trainer import Trainer

    refuse_options(name, options, image_options, TEXT_OPTIONS)
    if "epochs" not in options:
        options.setdefault("steps", STEPS)
    options.setdefault("clip_norm", CLIP_NORM)
    batch, seed = options.setdefault("batch_size", BATCH_SIZE), options["seed"]
    characters, ids = _numbers(data.load_text(options["data"]))
    random.manual_seed(seed)
    try:
        model = models.build(name, vocab_size=len(characters),
                             **{k: options[k] for k in TEXT_OPTIONS if k in options})
        start = len(ids) - int(len(ids) * HELD_OUT)
        parts = [data.TextBlocks(ids[:start], model.block, jitter=True),
                 data.TextBlocks(ids[start:], model.block)]
    except ValueError as error:
        raise UsageError(f"{options['data']}: {error}") from None
    if batch > len(parts[0]):
        raise UsageError(f"--batch-size {batch}: {options['data']} has only {len(parts[0])} blocks "
                         f"of {model.block} characters")
    loader = data.DataLoader(parts[0], batch, shuffle=True, drop_last=True, seed=seed,
                             prefetch=options.get("prefetch", 2))
    model.to(device=device)
    total = options.get("steps") or options["epochs"] * len(loader)
    optimizers = model.configure_optimizers(options.get("lr"))
    return Trainer(
        model, loader, folder, epochs=options.get("epochs"), steps=options.get("steps"),
        optimizers=optimizers, schedulers=model.configure_schedulers(optimizers, total),
        schedule_per="step", eval_loader=data.DataLoader(parts[1], min(128, len(parts[1]))),
        progress=not quiet, samples=0, resume_with=resume_with,
        callbacks=[SampleText(folder, characters, options.get("sample_every"), seed=seed)],
        config={"options": {k: v for k, v in options.items() if k not in ("out", "device")},
                "characters": characters},
        **{k: options[k] for k in trainer_options if k in options and k != "lr"})


def _numbers(text: str) -> tuple[str, np.ndarray]:
    """The characters of a text, each once and in order, and the text as their numbers."""
    codes, ids = np.unique(np.array(list(text)), return_inverse=True)
    return "".join(codes.tolist()), ids.astype(np.int32)


class SampleText(SampleGrid):
    """What the model writes, always from the same random numbers.

    `samples/step-00000100.txt` and so on are the history, `samples.txt` is the newest.

    Args:
        folder: the run's folder.
        characters: those of the model's tokens, in order.
        every: how often, in steps; None for the end of every epoch.
        n: how many characters.
        seed: of the random numbers.
    """

    suffix = ".txt"

    def __init__(self, folder: Path, characters: str, every: int | None = None, n: int = 500,
                 seed: int = 0):
        super().__init__(folder, every, n, seed)
        self.characters = characters

    def draw(self, trainer: Trainer) -> None:
        """Write both files."""
        generator = Generator(derive_seed(self.seed, "samples"))
        with trainer.undisturbed():
            out = trainer.model.write([_start(self.characters)], self.n, generator=generator)
        text = embed(_read(out.numpy()[0], self.characters).lstrip("\n") + "\n", "txt",
                     origin(trainer.config, self.seed, trainer.step))
        write_atomically(self._path(trainer), text)
        write_atomically(self.folder / f"samples{self.suffix}", text)


def write_text(run: Run, model: Any, n: int, out: str | None, seed: int, prompt: str | None,
               length: int, **filters: Any) -> None:
    """`tinygen sample` of a language model: `n` texts, printed or written to `out`."""
    characters: str = run.config.get("characters") or ""
    if len(characters) != model.vocab_size:
        raise TrainingError(f"{run.folder} does not say which characters its {model.vocab_size} "
                            "tokens are; it was not started by `tinygen train`")
    strange = sorted(set(prompt or "") - set(characters))
    if strange:
        raise UsageError(f"--prompt: the model never saw {', '.join(map(repr, strange))}; it knows "
                         f"{characters!r}")
    numbers = {c: i for i, c in enumerate(characters)}
    given = [numbers[c] for c in prompt] if prompt else _start(characters)
    generator = Generator(derive_seed(seed, "samples"))
    try:
        found = model.write([given] * n, length, generator=generator, **filters).numpy()
    except ValueError as error:
        raise UsageError(str(error)) from None
    texts = [_read(row, characters) if prompt else _read(row[1:], characters) for row in found]
    text = f"\n{'-' * 40}\n".join(texts) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(Path(out), embed(text, "txt", origin(run.config, seed, prompt=prompt)))
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)


def _start(characters: str) -> list[int]:
    """What a text begins after: the end of a line, or else the first character there is."""
    return [max(characters.find("\n"), 0)]


def _read(ids: np.ndarray, characters: str) -> str:
    return "".join(characters[i] for i in ids)
