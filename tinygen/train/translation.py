"""Runs of translators: `tinygen train translator` and `tinygen sample` of what it left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..provenance import embed
from ..serialization import write_atomically
from .callbacks import SampleGrid
from .errors import TrainingError, UsageError, refuse_options
from .origin import origin

if TYPE_CHECKING:
    from .runs import Run
    from .trainer import Trainer

__all__ = ["TRANSLATOR_OPTIONS", "SampleTranslations", "translator_trainer", "write_translation"]

EPOCHS = 8
BATCH_SIZE = 64
LONGEST = 64           # tokens of a sentence to learn from
TRANSLATOR_OPTIONS = ("layers", "heads", "width", "hidden", "dropout", "label_smoothing")
SIZES = {"layers": 2, "heads": 4, "width": 128, "hidden": 512}    # minutes on a desk
BEAMS = 4
FILES = ("source.json", "target.json")     # the run's tokenizers

Options = dict[str, Any]


def translator_trainer(name: str, options: Options, folder: Path, quiet: bool, device: str,
                       image_options: tuple[str, ...], trainer_options: tuple[str, ...],
                       resume_with: str) -> Trainer:
    """A trainer of a translator on pairs of sentences, evaluated on those of "val"."""
    from .. import data, models, random
    from ..text import pair_tokenizers
    from .trainer import Trainer

    refuse_options(name, options, image_options, TRANSLATOR_OPTIONS)
    if "steps" not in options:
        options.setdefault("epochs", EPOCHS)
    batch, seed = options.setdefault("batch_size", BATCH_SIZE), options["seed"]
    try:
        train, held_out = (data.load_pairs(options["data"], split) for split in ("train", "val"))
        tokenizers = pair_tokenizers(train.source, train.target)
        sizes = {**SIZES, **{k: options[k] for k in TRANSLATOR_OPTIONS if k in options}}
        sizes["hidden"] = int(sizes["hidden"])
        random.manual_seed(seed)
        one = tokenizers[0] is tokenizers[1]
        model = models.build(name, vocab_size=len(tokenizers[0]), **sizes,
                             target_vocab_size=None if one else len(tokenizers[1]),
                             bos=tokenizers[1].bos_id, eos=tokenizers[1].eos_id).to(device=device)
    except ValueError as error:
        raise UsageError(f"{options['data']}: {error}") from None
    loader = data.pair_loader(*_numbers(train, tokenizers), batch, seed=seed)
    total = options.get("steps") or options["epochs"] * len(loader)
    optimizers = model.configure_optimizers(options.get("lr", 2e-3))
    return Trainer(
        model, loader, folder, epochs=options.get("epochs"), steps=options.get("steps"),
        optimizers=optimizers, schedulers=model.configure_schedulers(optimizers, total),
        schedule_per="step", progress=not quiet, samples=0, resume_with=resume_with,
        eval_loader=data.pair_loader(*_numbers(held_out, tokenizers), 128, shuffle=False),
        callbacks=[SampleTranslations(folder, tokenizers, held_out.grouped(),
                                      options.get("sample_every"), seed=seed)],
        config={"options": {k: v for k, v in options.items() if k not in ("out", "device")}},
        **{k: options[k] for k in trainer_options if k in options and k != "lr"})


def _numbers(pairs: Any, tokenizers: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Token numbers of both sides, without pairs that are too long."""
    source, target = tokenizers
    both = zip(source.encode_batch(pairs.source, eos=True),
               target.encode_batch(pairs.target, bos=True, eos=True), strict=True)
    kept = [(s, t) for s, t in both if max(len(s), len(t)) <= LONGEST]
    if not kept:
        raise UsageError(f"no pair of sentences has at most {LONGEST} tokens on each side")
    return [s for s, _ in kept], [t for _, t in kept]


class SampleTranslations(SampleGrid):
    """Held-out sentences as the model translates them, with a person's translation below.

    Args:
        folder: the run's folder, which gets the tokenizers too.
        tokenizers: of both sides.
        sentences: sources, and the translations of each.
        every: how often, in steps; None for the end of every epoch.
        n: how many sentences.
    """

    suffix = ".txt"

    def __init__(self, folder: Path, tokenizers: Any,
                 sentences: tuple[list[str], list[list[str]]], every: int | None = None,
                 n: int = 20, seed: int = 0):
        super().__init__(folder, every, n, seed)
        self.tokenizers = tokenizers
        gap = max(1, len(sentences[0]) // n)
        self.sources, self.references = sentences[0][::gap][:n], sentences[1][::gap][:n]

    def on_train_begin(self, trainer: Trainer) -> None:
        """Keep the tokenizers, and show what the model writes before it has learnt anything."""
        for name, tokenizer in zip(FILES, self.tokenizers, strict=True):
            tokenizer.save(self.folder / name)
        super().on_train_begin(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Write both files."""
        with trainer.undisturbed():
            written = _translate(trainer.model, self.sources, self.tokenizers, beams=1)
        lines = [f"{source}\n  {ours}\n  ({theirs[0]})" for source, ours, theirs
                 in zip(self.sources, written, self.references, strict=True)]
        text = embed("\n".join(lines) + "\n", "txt", origin(trainer.config, self.seed,
                                                            trainer.step))
        write_atomically(self._path(trainer), text)
        write_atomically(self.folder / f"samples{self.suffix}", text)


def _translate(model: Any, texts: list[str], tokenizers: Any, beams: int) -> list[str]:
    from ..text import PadCollate

    source, _ = PadCollate()([(ids,) for ids in tokenizers[0].encode_batch(texts, eos=True)])
    return tokenizers[1].decode_batch(model.translate(source, beams))


def write_translation(run: Run, model: Any, n: int | None, out: str | None, seed: int,
                      prompt: str | None, given: Options) -> None:
    """`tinygen sample` of a translator: the translation of `prompt`, printed or written to `out`.

    The tokenizers are those that the run keeps beside its checkpoints.
    """
    from ..text import load_tokenizer

    if n is not None or given:
        option = "n" if n is not None else next(iter(given)).replace("_", "-")
        raise UsageError(f"--{option} does not apply to {model.name}, which has one translation "
                         "of a sentence")
    if not prompt:
        raise UsageError(f"{run.folder} is a {model.name}: give it a sentence with --prompt")
    try:
        tokenizers = [load_tokenizer(run.folder / name) for name in FILES]
    except FileNotFoundError as error:
        raise TrainingError(f"{run.folder} has no {error.filename}; it was not started by "
                            "`tinygen train`") from None
    text = _translate(model, [prompt], tokenizers, BEAMS)[0] + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(Path(out), embed(text, "txt", origin(run.config, seed, prompt=prompt)))
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)
