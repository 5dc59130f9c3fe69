"""Titles for abstracts of Chinese papers, taken out of the abstract, with the attention shown.

    python examples/summarize_chinese.py           # CSL: 1,000 abstracts, 1,000 more to test
    python examples/summarize_chinese.py --quick   # made-up texts, a few seconds

A thousand pairs are too few for a model that writes freely. Most titles' words stand in the
abstract, though, often side by side: so the model learns which characters belong in the title, and
the title is the stretch of the abstract with the largest share of them. ROUGE-L, over characters,
compares it with the paper's own title, beside the first characters of the abstract (the lead).
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, TitledTexts, csl_titles
from tinygen.metrics import rouge_l
from tinygen.models import SpanExtractor, best_span, shared_pairs
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.text import BucketSampler, CharTokenizer, PadCollate, pad_sequences, word_vectors
from tinygen.train import Trainer

CUT = 300           # characters of an abstract that are read; 84% of them are no longer
PRIOR = 5.0         # of best_span; the best of 1 to 26 on a fifth of the training abstracts
LEADS = range(10, 41, 2)


def plain(texts: list[str]) -> list[str]:
    """One form for letters and marks (NFKC), lower case, no blanks; for texts and titles alike."""
    return ["".join(unicodedata.normalize("NFKC", t).lower().split()) for t in texts]


def made_up(n: int, seed: int) -> TitledTexts:
    """Texts of random characters in which the title follows the word for "study"."""
    rng = np.random.default_rng(seed)
    characters = [chr(0x4E00 + i) for i in range(150)]

    def some(low: int, high: int) -> str:
        return "".join(rng.choice(characters, rng.integers(low, high)))
    titles = [some(8, 14) for _ in range(n)]
    return TitledTexts([f"{some(10, 30)}.研究{title},{some(10, 30)}." for title in titles], titles)


def fit(seed: int, epochs: int, texts: list[str], titles: list[str], tokenizer: Any,
        unlabelled: list[list[int]]) -> SpanExtractor:
    """A model that learnt the characters of titles from texts, and how they stand in all texts."""
    tg.manual_seed(seed)
    size = len(tokenizer)
    model = SpanExtractor(size, vectors=word_vectors(unlabelled, size, 64, seed=seed))
    model.count_pairs(unlabelled)
    samples = [(tokenizer.encode(text), shared_pairs(text, title))
               for text, title in zip(texts, titles, strict=True)]
    pad = PadCollate()

    def collate(picked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        tokens, _, labels, _ = pad(picked)                         # (N, L) both
        return tokens, labels
    loader = DataLoader(samples, seed=seed, collate_fn=collate, batch_sampler=BucketSampler(
        [len(ids) for ids, _ in samples], 16, pool=20, seed=seed))
    optimizers = model.configure_optimizers()
    schedule = WarmupCosine(optimizers["model"], len(loader) // 2, epochs * len(loader))
    Trainer(model, loader, epochs=epochs, optimizers=optimizers, schedulers=schedule,
            schedule_per="step", clip_norm=1.0, seed=seed, samples=0, progress=False).fit()
    return model.eval()


def probabilities(models: list[SpanExtractor], rows: list[list[int]]) -> list[np.ndarray]:
    """For each text the probability of each character to stand in the title, mean of models."""
    found: list[np.ndarray] = []
    for i in range(0, len(rows), 50):
        part = pad_sequences(rows[i:i + 50], padding="post", dtype="int64")        # (N, L)
        p = np.mean([model.probabilities(part) for model in models], axis=0)       # (N, L)
        found += [one[:len(row)] for one, row in zip(p, rows[i:i + 50], strict=True)]
    return found


def baselines(texts: list[str], titles: list[str]) -> dict[str, float]:
    """ROUGE-L of what needs no learning: the first sentence, its first part, k characters."""
    found = {"first sentence": [re.split(r"(?<=[.。;!?])", t)[0] for t in texts],
             "first clause": [re.split(r"[.。;!?,:、]", t)[0] or t[:20] for t in texts]}
    scores = {name: float(rouge_l(made, titles, True).mean()) for name, made in found.items()}
    leads = {k: float(rouge_l([t[:k] for t in texts], titles, True).mean()) for k in LEADS}
    best = max(leads, key=lambda k: leads[k])              # chosen on these very texts: the most
    print(f"lead: best with {best} characters, {leads[best]:.4f}; first sentence "
          f"{scores['first sentence']:.4f}; first clause {scores['first clause']:.4f}")
    return {**scores, "lead": leads[best], "lead characters": float(best)}


def shown(text: str, title: str, made: str, attention: np.ndarray) -> str:
    """A title, what was found, and the five places of the text that have most attention."""
    window = np.convolve(attention, np.ones(4))[3:]                # of four characters from here on
    places = []
    for _ in range(5):
        at = int(window.argmax())
        places.append(f"{text[at:at + 4]} {window[at]:.0%}")
        window[max(at - 3, 0):at + 4] = 0
    return f"title:     {title}\nfound:     {made}\nattention: {' | '.join(places)}"


def main() -> dict[str, float]:
    """Train, print ROUGE-L beside the leads and some titles; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="made-up texts, a few seconds")
    parser.add_argument("--epochs", type=int, help="default 2 (4 for made-up texts)")
    parser.add_argument("--members", type=int, default=1, help="models to average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/summarize_chinese", help="folder for titles.tsv")
    args = parser.parse_args()

    train = made_up(300, 0) if args.quick else csl_titles()
    test = made_up(60, 1) if args.quick else csl_titles(train=False)
    texts, titles = [t[:CUT] for t in plain(train.texts)], plain(train.titles)
    unseen, wanted = [t[:CUT] for t in plain(test.texts)], plain(test.titles)
    tokenizer = CharTokenizer(min_freq=2, specials=dict.fromkeys(("bos", "eos", "mask")))
    tokenizer.fit([*texts, *unseen])
    rows = tokenizer.encode_batch(unseen)
    unlabelled = [*tokenizer.encode_batch(texts), *rows]      # abstracts alone, without any title
    print(f"{len(texts)} texts with titles, {len(tokenizer)} characters; {len(unseen)} to test")
    found = baselines(unseen, wanted)

    epochs = args.epochs or (4 if args.quick else 2)
    models: list[SpanExtractor] = []
    scores: list[float] = []
    for member in range(args.members):
        models.append(fit(args.seed + member, epochs, texts, titles, tokenizer, unlabelled))
        spans = [best_span(p, PRIOR) for p in probabilities(models[-1:], rows)]
        made = [text[i:j] for text, (i, j) in zip(unseen, spans, strict=True)]
        scores.append(float(rouge_l(made, wanted, True).mean()))
        print(f"extractor, seed {args.seed + member}: {scores[-1]:.4f}", flush=True)
    spans = [best_span(p, PRIOR) for p in probabilities(models, rows)]
    made = [text[i:j] for text, (i, j) in zip(unseen, spans, strict=True)]
    each = rouge_l(made, wanted, True)
    found |= {"extractor": float(each.mean()), "one model": float(np.mean(scores)),
              "standard error": float(each.std() / len(each) ** 0.5)}
    print(f"extractor, mean of {len(models)}: {found['extractor']:.4f} +- "
          f"{found['standard error']:.4f}")
    for i in range(4):
        attention = models[0].attention([rows[i]]).numpy()[0]
        print(shown(unseen[i], wanted[i], made[i], attention))
    Path(args.out).mkdir(parents=True, exist_ok=True)
    lines = [f"{score:.3f}\t{title}\t{ours}\n"
             for score, title, ours in zip(each, wanted, made, strict=True)]
    (Path(args.out) / "titles.tsv").write_text("".join(lines), encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
