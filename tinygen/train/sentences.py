"""Runs of sentence VAEs: `tinygen train text-vae`, `sample` and `interpolate` of what it left."""

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

__all__ = ["SENTENCE_OPTIONS", "SampleSentences", "sentence_trainer", "write_sentences",
           "write_walks"]

EPOCHS = 10
BATCH_SIZE = 64
CLIP_NORM = 10.0
SENTENCE_OPTIONS = ("width", "hidden", "latent", "dropout")
FILE = "tokens.json"       # the run's tokenizer

Options = dict[str, Any]


def sentence_trainer(name: str, options: Options, folder: Path, quiet: bool, device: str,
                     image_options: tuple[str, ...], trainer_options: tuple[str, ...],
                     resume_with: str) -> Trainer:
    """A trainer of a sentence VAE on the lines of a text, of which every tenth is held out.

    Lines without spaces, such as names, are read letter by letter, others word by word. The
    weight of the KL grows over the first half of the run.
    """
    from .. import data, models, random
    from .trainer import Trainer

    refuse_options(name, options, image_options, SENTENCE_OPTIONS)
    if "steps" not in options:
        options.setdefault("epochs", EPOCHS)
    options.setdefault("clip_norm", CLIP_NORM)
    batch, seed = options.setdefault("batch_size", BATCH_SIZE), options["seed"]
    train, held_out, tokenizer = _lines(data.load_text(options["data"]), seed)
    loader, evaluation = _loader(train, tokenizer, batch, seed), _loader(held_out, tokenizer, 128)
    total = options.get("steps") or options["epochs"] * len(loader)
    sizes = {k: options[k] for k in SENTENCE_OPTIONS if k in options}
    if "hidden" in sizes:
        sizes["hidden"] = int(sizes["hidden"])
    random.manual_seed(seed)
    try:
        model = models.build(name, vocab_size=len(tokenizer), anneal_steps=total // 2, **sizes)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Trainer(
        model.to(device=device), loader, folder, epochs=options.get("epochs"),
        steps=options.get("steps"), progress=not quiet, samples=0, resume_with=resume_with,
        eval_loader=evaluation,
        callbacks=[SampleSentences(folder, tokenizer, options.get("sample_every"), seed=seed)],
        config={"options": {k: v for k, v in options.items() if k not in ("out", "device")}},
        **{k: options[k] for k in trainer_options if k in options})


def _lines(text: str, seed: int) -> tuple[list[str], list[str], Any]:
    """Lines to learn from, those that are held out, and a tokenizer of the first."""
    from ..text import CharTokenizer, WordTokenizer

    # each once: a line that is held out must not be among those to learn from
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if len(lines) < 20:
        raise UsageError(f"a text of {len(lines)} lines; at least 20 different ones, "
                         "a sentence each, are needed")
    lines = [lines[i] for i in np.random.default_rng(seed).permutation(len(lines))]
    words = any(" " in line for line in lines)
    train = lines[len(lines) // 10:]
    kind = WordTokenizer(min_freq=2, specials={"mask": None}) if words else CharTokenizer(
        specials={"mask": None})
    return train, lines[:len(lines) // 10], kind.fit(train)


def _loader(lines: list[str], tokenizer: Any, batch: int, seed: int | None = None) -> Any:
    from ..data import DataLoader
    from ..text import BucketSampler, PadCollate

    ids = tokenizer.encode_batch(lines, bos=True, eos=True)
    sampler = BucketSampler([len(row) for row in ids], batch, pool=20, shuffle=seed is not None,
                            seed=seed or 0)
    return DataLoader(ids, batch_sampler=sampler, collate_fn=PadCollate(), seed=seed or 0)


class SampleSentences(SampleGrid):
    """What the model writes, always from the same codes; the run's folder gets the tokenizer too.

    Args:
        folder: the run's folder. tokenizer: of the model's tokens.
        every: how often, in steps; None for the end of every epoch.
        n: how many sentences. seed: of codes and words.
    """

    suffix = ".txt"

    def __init__(self, folder: Path, tokenizer: Any, every: int | None = None, n: int = 20,
                 seed: int = 0):
        super().__init__(folder, every, n, seed)
        self.tokenizer = tokenizer

    def on_train_begin(self, trainer: Trainer) -> None:
        """Keep the tokenizer, and show what the model writes before it has learnt anything."""
        self.tokenizer.save(self.folder / FILE)
        super().on_train_begin(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Write both files."""
        with trainer.undisturbed():
            lines = _write(trainer.model, self.tokenizer, self.n, self.seed)
        text = embed("\n".join(lines) + "\n", "txt", origin(trainer.config, self.seed,
                                                            trainer.step))
        write_atomically(self._path(trainer), text)
        write_atomically(self.folder / f"samples{self.suffix}", text)


def _write(model: Any, tokenizer: Any, n: int, seed: int, **options: Any) -> list[str]:
    generator = Generator(derive_seed(seed, "samples"))
    ids = model.generate(model.noise(n, generator), generator=generator, **options)
    return tokenizer.decode_batch(ids.numpy())


def _tokenizer(run: Run) -> Any:
    from ..text import load_tokenizer

    try:
        return load_tokenizer(run.folder / FILE)
    except FileNotFoundError:
        raise TrainingError(f"{run.folder} has no {FILE}; it was not started by `tinygen train`"
                            ) from None


def write_sentences(run: Run, model: Any, n: int, out: str | None, seed: int, given: Options
                    ) -> None:
    """`tinygen sample` of a sentence VAE: `n` lines, printed or written to `out`."""
    options = {{"length": "longest"}.get(k, k): v for k, v in given.items()}
    for key in options:
        if key not in ("longest", "temperature"):
            raise UsageError(f"--{key.replace('_', '-')} does not apply to {model.name}; --n, "
                             "--length and --temperature do")
    try:
        lines = _write(model, _tokenizer(run), n, seed, **options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    _tell(lines, out, origin(run.config, seed))


def write_walks(run: Run, model: Any, rows: int, steps: int, out: str | None, seed: int) -> None:
    """`tinygen interpolate` of a sentence VAE: walks from one code to another, line by line."""
    from ..models import interpolate

    z = model.noise(2 * rows, Generator(derive_seed(seed, "samples")))
    walk = interpolate(z[:rows], z[rows:], steps, spherical=True)          # (steps, rows, latent)
    walk = walk.transpose((1, 0, 2)).reshape(rows * steps, -1)
    lines = _tokenizer(run).decode_batch(model.generate(walk, temperature=0.0).numpy())
    parts = ["\n".join(lines[i:i + steps]) for i in range(0, len(lines), steps)]
    _tell("\n\n".join(parts).split("\n"), out, origin(run.config, seed))


def _tell(lines: list[str], out: str | None, record: Any) -> None:
    text = "\n".join(lines) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(Path(out), embed(text, "txt", record))
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)
