"""Translation by a transformer: English to German or Chinese, with what it looked at.

    python examples/translate.py                # German: Multi30k, descriptions of photographs
    python examples/translate.py --pair en-zh   # Chinese: everyday sentences of Tatoeba
    python examples/translate.py --quick        # a made-up language, a few seconds

An encoder reads the English sentence. A decoder writes the other one, a token at a time, and at
each step looks at what the encoder made of the English words: cross-attention, drawn as a picture.
German is cut into frequent pieces of words (byte-pair encoding, one vocabulary for both languages),
Chinese into characters. BLEU is sacrebleu's on sentences that were held out.

With --resume a run keeps its weights in --out, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import SentencePairs, multi30k, pair_loader, tatoeba
from tinygen.metrics import bleu
from tinygen.models import Translator
from tinygen.text import PadCollate, WordTokenizer, pair_tokenizers
from tinygen.train import Trainer
from tinygen.viz import draw_attention, save_panels

SIZES: dict[str, Any] = {"layers": 2, "heads": 4, "width": 128, "hidden": 512, "dropout": 0.1}
QUICK: dict[str, Any] = {"layers": 1, "heads": 4, "width": 32, "hidden": 64, "dropout": 0.0}
EPOCHS = {"en-de": 5, "en-zh": 8, "made-up": 12}
LONGEST = 40          # tokens of a sentence to learn from


def made_up(n: int, seed: int) -> SentencePairs:
    """Sentences of a language with words of its own, in reverse order: "a b c" is "zu xu wu"."""
    rng = np.random.default_rng(seed)
    words = np.array(["red", "dog", "old", "sees", "a", "big", "cat", "runs", "the", "sun"])
    theirs = dict(zip(words, ["ro", "wau", "alt", "si", "un", "gor", "mi", "lu", "da", "sol"],
                      strict=True))
    texts = [rng.choice(words, rng.integers(2, 7)) for _ in range(n)]
    return SentencePairs([" ".join(t) for t in texts],
                         [" ".join(theirs[w] for w in reversed(t)) for t in texts])


def load(pair: str, seed: int) -> tuple[SentencePairs, SentencePairs, Any, Any]:
    """Pairs to learn from and to test with, and the tokenizers of both languages."""
    if pair == "made-up":
        train, test = made_up(1500, 1), made_up(100, 2)
        return train, test, *(WordTokenizer().fit(texts) for texts in train[:2])
    train, test = ((tatoeba(split, seed) if pair == "en-zh" else multi30k("de", split))
                   for split in ("train", "test"))
    return train, test, *pair_tokenizers(train.source, train.target)


def batches(pairs: SentencePairs, english: Any, other: Any, size: int, seed: int) -> Any:
    """Batches (source (N, S), target (N, T)) of pairs that are not too long."""
    ids = zip(english.encode_batch(pairs.source, eos=True),
              other.encode_batch(pairs.target, bos=True, eos=True), strict=True)
    kept = [(s, t) for s, t in ids if max(len(s), len(t)) <= LONGEST]
    return pair_loader(*zip(*kept, strict=True), size, seed=seed)


def translate(model: Translator, texts: list[str], english: Any, other: Any,
              beams: int) -> list[str]:
    """Translations of texts, 100 of similar lengths at a time."""
    ids = english.encode_batch(texts, eos=True)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [""] * len(ids)
    for start in range(0, len(order), 100):
        part = order[start:start + 100]
        source, _ = PadCollate()([(ids[i],) for i in part])                    # (N, S)
        for i, tokens in zip(part, model.translate(source, beams), strict=True):
            found[i] = other.decode(tokens)
    return found


def save_attention(model: Translator, texts: list[str], english: Any, other: Any,
                   path: Path) -> None:
    """What each written token looked at, a mean over the last layer's heads, as one picture."""
    def panel(text: str) -> Any:
        source = english.encode(text, eos=True)                                # (S,)
        target = model.translate([source], 4)[0]                               # (T,)
        maps = model.attention([source], [[other.bos_id, *target]])            # (1, L, H, T+1, S)
        read, written = ([*(t.decode([i]) for i in ids), "end"]
                         for t, ids in ((english, source[:-1]), (other, target)))
        print(f"  {text} -> " + " ".join(f"{n} {w}" for n, w in enumerate(written, 1)))
        return lambda axes: draw_attention(axes, maps.numpy()[0, -1].mean(axis=0), read, written)
    print(f"attention in {path}, with the numbers of what was written:")
    save_panels([panel(text) for text in texts], path, columns=2, size=(4.0, 3.6))


def main() -> dict[str, float]:
    """Train, measure BLEU by greedy search and by beams, show translations; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a made-up language, a few seconds")
    parser.add_argument("--pair", choices=["en-de", "en-zh"], default="en-de")
    parser.add_argument("--epochs", type=int, help="default 5 for German, 8 for Chinese")
    parser.add_argument("--lr", type=float, help="default 2e-3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for pictures (default: runs/translate-PAIR)")
    parser.add_argument("--resume", action="store_true", help="keep checkpoints; go on from them")
    args = parser.parse_args()

    pair = "made-up" if args.quick else args.pair
    out = Path(args.out or f"runs/translate-{pair}")
    train, test, english, other = load(pair, args.seed)
    tg.manual_seed(args.seed)
    model = Translator(len(english), None if other is english else len(other),
                       bos=other.bos_id, eos=other.eos_id, **(QUICK if args.quick else SIZES))
    loader = batches(train, english, other, 32 if args.quick else 64, args.seed)
    epochs = args.epochs or EPOCHS[pair]
    print(f"{len(train.source):,} pairs; {len(english):,} tokens of English, {len(other):,} of the "
          f"other; {sum(p.size for p in model.parameters()):,} parameters")

    optimizers = model.configure_optimizers(args.lr or (5e-3 if args.quick else 2e-3))
    trainer = Trainer(model, loader, out / "training" if args.resume else None, epochs=epochs,
                      optimizers=optimizers, seed=args.seed, samples=0, progress=not args.quick,
                      schedulers=model.configure_schedulers(optimizers, epochs * len(loader)),
                      schedule_per="step", log_every=100)
    history = trainer.fit(resume=args.resume)
    print(f"loss {history[0]['loss']:.2f} at first, {history[-1]['loss']:.2f} at the end")

    found = {"first loss": history[0]["loss"], "loss": history[-1]["loss"]}
    sources, references = test.grouped()
    for name, beams in (("greedy", 1), ("beam", 4)):
        written = translate(model, sources, english, other, beams)
        score, how = bleu(written, references, "zh" if pair == "en-zh" else "13a")
        found[f"BLEU {name}"] = score
        found[f"exact {name}"] = float(np.mean([w in r for w, r in zip(written, references,
                                                                       strict=True)]))
        print(f"{name}: BLEU {score:.2f} ({how}); word for word {found[f'exact {name}']:.1%}")
    for at in range(0, len(sources), -(-len(sources) // 8)):
        print(f"  {sources[at]} -> {written[at]}  (a person: {references[at][0]})")
    chosen = [s for s in sources if 5 <= len(s.split()) <= 9][:4]
    credits = [c for s, c in zip(test.source, test.credits, strict=False) if s in chosen]
    print(*dict.fromkeys(credits), sep="\n")
    save_attention(model, chosen, english, other, out / "attention.png")
    return found


if __name__ == "__main__":
    main()
