"""A VAE for sentences beside a language model of the same decoder: names by letters, MR by words.

    python examples/text_vae.py --begin              # names, letter by letter
    python examples/text_vae.py --begin --data mr    # sentences of film reviews, word by word
    python examples/text_vae.py --quick              # made-up names, a few seconds

The language model gives a perplexity; for the VAE there are two upper bounds on it, one by the ELBO
and a closer one by importance weights. What the VAE has beyond the language model is a code: from
two names or sentences it writes those that lie between, and from noise new ones. With --begin its
writer starts from the language model's weights, which helps where there are few sentences.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, load_text, movie_reviews
from tinygen.models import LSTMLanguageModel, TextVAE
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.text import BucketSampler, CharTokenizer, PadCollate, WordTokenizer
from tinygen.train import Trainer

NO_MASK = {"mask": None}
# width and hidden: of both models; epochs: of both; the rest: of the VAE
SIZES: dict[str, dict[str, Any]] = {
    "made up": {"width": 16, "hidden": 40, "dropout": 0.0, "latent": 8, "word_dropout": 0.3,
                "free_nats": 3.0, "epochs": 9},
    "names": {"width": 64, "hidden": 128, "dropout": 0.1, "latent": 16, "word_dropout": 0.3,
              "free_nats": 4.0, "epochs": 12},
    "mr": {"width": 128, "hidden": 128, "dropout": 0.4, "latent": 32, "word_dropout": 0.3,
           "free_nats": 6.0, "epochs": 6},
}
PAIRS = {"made up": [("mikalo", "sune"), ("tara", "tolimu")],
         "names": [("emma", "sebastian"), ("olivia", "jack"), ("anna", "kathryn")],
         "mr": [("the film is a warm and funny comedy .", "it is too long and never scary ."),
                ("a dull , lifeless film .", "one of the best films of the year .")]}


def read(data: str) -> tuple[list[str], list[str], Any]:
    """Sentences to learn from, a tenth that is held out, and their tokenizer."""
    if data == "mr":
        texts, held_out = movie_reviews().texts, movie_reviews(train=False).texts
        return texts, held_out, WordTokenizer(min_freq=3, specials=NO_MASK).fit(texts)
    rng = np.random.default_rng(0)
    if data == "names":
        names = load_text("names").split()
    else:                                     # two to four syllables: mikalo, sune
        syllables = [a + b for a in "klmnrst" for b in "aeiou"]
        names = ["".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(1500)]
    names = [str(n) for n in rng.permutation(sorted(set(names)))]
    texts, held_out = names[len(names) // 10:], names[:len(names) // 10]
    return texts, held_out, CharTokenizer(specials=NO_MASK).fit(texts)


def batches(texts: list[str], tokenizer: Any, size: int, seed: int = 0,
            shuffle: bool = True) -> DataLoader:
    """Batches (tokens (N, T), lengths (N,)) of similar lengths: <bos> .. <eos>, then 0."""
    ids = tokenizer.encode_batch(texts, bos=True, eos=True)
    return DataLoader(ids, seed=seed, collate_fn=PadCollate(), batch_sampler=BucketSampler(
        [len(row) for row in ids], size, pool=20, shuffle=shuffle, seed=seed))


def fit(model: Any, loader: DataLoader, epochs: int, seed: int) -> Any:
    """The model after training; the learning rate rises for an epoch's half, then falls to 0."""
    optimizers = model.configure_optimizers()
    schedule = WarmupCosine(optimizers["model"], len(loader) // 2, epochs * len(loader))
    Trainer(model, loader, epochs=epochs, optimizers=optimizers, schedulers=schedule,
            schedule_per="step", clip_norm=10.0, seed=seed, samples=0, progress=False).fit()
    return model.eval()


def measure(model: Any, loader: DataLoader, samples: int = 0) -> dict[str, float]:
    """Means over held-out sentences, in nats: what `evaluate` gives, `log p`, and `tokens`."""
    sums: dict[str, float] = {}
    count = 0
    for tokens, lengths in loader:                                # (N, T), (N,)
        found = {name: x.item() * len(tokens) for name, x in model.evaluate(tokens).items()}
        if samples:
            found["log p"] = model.log_likelihood(tokens, samples).sum().item()
        found["tokens"] = float((lengths - 1).sum().item())       # <eos> counts, <bos> does not
        sums = {name: sums.get(name, 0.0) + x for name, x in found.items()}
        count += len(tokens)
    return {name: x / count for name, x in sums.items()}


def main() -> dict[str, float]:
    """Train both; print bounds, new sentences and what lies between; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="made-up names, a few seconds")
    parser.add_argument("--data", choices=["names", "mr"], default="names")
    parser.add_argument("--epochs", type=int, help="default 12 for names, 6 for mr")
    parser.add_argument("--samples", type=int, default=50, help="importance samples a sentence")
    parser.add_argument("--collapse", action="store_true",
                        help="also train a VAE without annealing, free nats and word dropout")
    parser.add_argument("--begin", action="store_true",
                        help="the VAE's writer begins with the language model's weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/text_vae", help="folder for the written sentences")
    args = parser.parse_args()
    data = "made up" if args.quick else args.data
    sizes = dict(SIZES[data])
    epochs = args.epochs or sizes.pop("epochs")
    sizes.pop("epochs", None)

    texts, held_out, tokenizer = read(data)
    train = batches(texts, tokenizer, 32 if args.quick else 64, args.seed)
    test = batches(held_out, tokenizer, 128, shuffle=False)
    print(f"{len(texts)} {data}, {len(tokenizer)} tokens; {len(held_out)} held out")

    def language_model() -> LSTMLanguageModel:
        plain = {name: sizes[name] for name in ("width", "hidden", "dropout")}
        tg.manual_seed(args.seed)
        model = fit(LSTMLanguageModel(len(tokenizer), **plain), train, epochs, args.seed)
        now = measure(model, test)
        found.update({"lstm": now["loss"],
                      "lstm perplexity": math.exp(now["loss"] / now["tokens"])})
        print(f"LSTM: {now['loss']:.2f} nats a sentence, perplexity {found['lstm perplexity']:.2f}")
        return model

    def learnt(begin: LSTMLanguageModel | None, **options: Any) -> TextVAE:
        tg.manual_seed(args.seed)
        model = TextVAE(len(tokenizer), **{**sizes, **options})
        found.setdefault("untrained", measure(model, test)["loss"])
        if begin is not None:
            model.begin_with(begin)
        return fit(model, train, epochs, args.seed)

    found: dict[str, float] = {}
    begin = language_model() if args.begin else None
    vae = learnt(begin, anneal_steps=epochs * len(train) // 2)
    tg.manual_seed(args.seed)
    now = measure(vae, test, args.samples)
    found |= {"bound": now["loss"], "kl": now["kl"], "weighted bound": -now["log p"],
              "perplexity bound": math.exp(now["loss"] / now["tokens"]),
              "weighted perplexity bound": math.exp(-now["log p"] / now["tokens"])}
    print(f"VAE: {now['loss']:.2f} nats a sentence or less = words {now['reconstruction']:.2f} + "
          f"KL {now['kl']:.2f}; with {args.samples} samples {-now['log p']:.2f} or less")
    print(f"  perplexity at most {found['perplexity bound']:.2f}, by importance weights at most "
          f"{found['weighted perplexity bound']:.2f}, a token", flush=True)
    lstm = begin or language_model()
    if args.collapse:
        now = measure(learnt(begin, word_dropout=0.0, free_nats=0.0, anneal_steps=0), test)
        found |= {"collapsed bound": now["loss"], "collapsed kl": now["kl"]}
        print(f"VAE without these measures: {now['loss']:.2f}, KL {now['kl']:.3f}")

    tg.manual_seed(args.seed)
    known, lines = set(texts), []
    heat, penalty = (0.7, 1.3) if data == "mr" else (1.0, 1.0)    # words repeat more than letters
    for title, ids in (("VAE", vae.generate(vae.noise(500), temperature=heat)),
                       ("LSTM", lstm.write(500, temperature=heat))):
        made = tokenizer.decode_batch(ids.numpy())
        found[f"{title.lower()} new"] = float(np.mean([s not in known for s in made]))
        lines += [f"{title}, {found[f'{title.lower()} new']:.1%} of 500 are new:",
                  *(f"    {s}" for s in made[:12])]
    for first, last in PAIRS[data]:
        ends = tokenizer.encode_batch([first, last], bos=True, eos=True)
        way = tokenizer.decode_batch(
            vae.interpolate(*ends, steps=7, repetition_penalty=penalty).numpy())
        lines += [f"from {first!r} to {last!r}:", *(f"    {s}" for s in way)]
    print("\n".join(lines))
    Path(args.out).mkdir(parents=True, exist_ok=True)
    (Path(args.out) / f"{data.replace(' ', '-')}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return found


if __name__ == "__main__":
    main()
