"""Is a film review good or bad? Self-attention beside a linear machine with the hinge loss.

    python examples/sentiment.py           # MR: 10,662 sentences (below TINYGEN_DATA)
    python examples/sentiment.py --quick   # made-up sentences with negations, a few seconds

The linear machine has a number for each word and cannot know that "not bad" is praise. The other
model lets words look at each other; how much it attends to each word is printed beside it. Its word
vectors come from the sentences it trains on and 7,000 longer reviews (IMDb), all without labels.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.data import DataLoader, LabelledTexts, film_texts, movie_reviews
from tinygen.models import AttentionClassifier, WordWeights
from tinygen.optim.lr_scheduler import WarmupCosine
from tinygen.text import BucketSampler, PadCollate, WordTokenizer, word_vectors
from tinygen.train import Trainer

SHOWN = ["a warm , funny and moving film .", "it is not funny , it is dull and far too long .",
         "the story is not bad and the cast is wonderful ."]


def made_up(n: int, seed: int) -> LabelledTexts:
    """Sentences about a good or a bad thing, half of them denied: "the film is not dull"."""
    rng = np.random.default_rng(seed)
    good = ["good", "funny", "warm", "moving", "clever"]
    bad = ["bad", "dull", "cold", "flat", "silly"]
    texts, labels = [], []
    for praise, denied in rng.random((n, 2)) < 0.5:
        word = str(rng.choice(good if praise != denied else bad))
        thing = str(rng.choice(["film", "plot", "cast", "story", "ending"]))
        texts.append(f"the {thing} is {'not ' if denied else ''}{word} .")
        labels.append(int(praise))
    return LabelledTexts(texts, np.array(labels), ("negative", "positive"))


def batches(data: LabelledTexts, tokenizer: WordTokenizer, size: int, seed: int = 0) -> DataLoader:
    """Batches (tokens (N, L), labels (N,)) of texts of similar lengths, padded with 0."""
    samples = [(tokenizer.encode(t), y) for t, y in zip(data.texts, data.labels, strict=True)]
    pad = PadCollate()

    def collate(picked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        tokens, _, labels = pad(picked)
        return tokens, labels
    lengths = [len(ids) for ids, _ in samples]
    return DataLoader(samples, seed=seed, collate_fn=collate,
                      batch_sampler=BucketSampler(lengths, size, pool=20, seed=seed))


def fit(model: Any, loader: DataLoader, epochs: int, seed: int) -> Any:
    """The model after training; the learning rate rises for half an epoch, then falls to 0."""
    optimizers = model.configure_optimizers()
    steps = epochs * len(loader)
    schedule = WarmupCosine(optimizers["model"], len(loader) // 2, steps)
    Trainer(model, loader, epochs=epochs, optimizers=optimizers, schedulers=schedule,
            schedule_per="step", seed=seed, samples=0, progress=False).fit()
    return model.eval()


def right(outputs: list[np.ndarray], labels: np.ndarray) -> float:
    """The share of texts whose likeliest class, by the mean over models, is the right one."""
    return float((np.mean(outputs, axis=0).argmax(axis=1) == labels).mean())


def main() -> dict[str, float]:
    """Train both, print their accuracies on held-out texts, show attention; returns accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="made-up sentences, a few seconds")
    parser.add_argument("--epochs", type=int, help="default 4")
    parser.add_argument("--members", type=int, help="attention models to average (default 4)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train = made_up(1500, 0) if args.quick else movie_reviews()
    test = made_up(300, 1) if args.quick else movie_reviews(train=False)
    tokenizer = WordTokenizer(specials=dict.fromkeys(("bos", "eos", "mask"))).fit(train.texts)
    print(f"{len(train.texts)} sentences, {len(tokenizer)} words; {len(test.texts)} held out")

    def one_batch(texts: list[str]) -> np.ndarray:                            # (N, L)
        return PadCollate()([(tokenizer.encode(t),) for t in texts])[0]

    epochs = args.epochs or (20 if args.quick else 4)
    vectors = None
    if not args.quick:
        corpus = tokenizer.encode_batch([*train.texts, *film_texts()])
        vectors = word_vectors([[i for i in ids if i != tokenizer.unk_id] for ids in corpus],
                               len(tokenizer), 64)                            # (V, 64)
    tg.manual_seed(args.seed)
    linear = fit(WordWeights(len(tokenizer)), batches(train, tokenizer, 50, args.seed),
                 2 * epochs, args.seed)
    tokens = one_batch(test.texts)
    found = {"linear": linear.evaluate(tokens, test.labels)["accuracy"].item()}
    print(f"linear, hinge loss: {found['linear']:.2%}")
    for title, ids in zip(("  against:", "  for:    "), linear.strongest(8), strict=True):
        print(title, ", ".join(tokenizer.vocabulary.tokens(ids)))

    outputs: list[np.ndarray] = []
    for member in range(args.members or (1 if args.quick else 4)):
        seed = args.seed + member
        tg.manual_seed(seed)
        drop = {"dropout": 0.1, "word_dropout": 0.0} if args.quick else {}
        model = AttentionClassifier(len(tokenizer), vectors=vectors, **drop)
        fit(model, batches(train, tokenizer, 50, seed), epochs, seed)
        with tg.no_grad():
            outputs.append(tg.nn.functional.softmax(model(tokens), dim=1).numpy())     # (N, 2)
        found[f"attention {member}"] = right(outputs[-1:], test.labels)
        print(f"self-attention, seed {seed}: {found[f'attention {member}']:.2%}")
    found["attention"] = right(outputs, test.labels)
    print(f"self-attention, mean of {len(outputs)}: {found['attention']:.2%}")

    for text in [*test.texts[:3]] if args.quick else SHOWN:
        ids = one_batch([text])                                                # (1, L)
        with tg.no_grad():
            decided = test.classes[int(model(ids).numpy()[0].argmax())]
        words = tokenizer.vocabulary.tokens(ids[0])
        parts = [f"{w} {a:.0%}" for w, a in zip(words, model.attention(ids).numpy()[0],
                                                strict=True)]
        print(f"{decided}: {' | '.join(parts)}")
    return found


if __name__ == "__main__":
    main()
