"""A VAE for sentences with its training loop written out: padding, noise, KL annealing, sampling.

    python examples/text_vae_loop.py --quick      # under 20 seconds
    python examples/text_vae_loop.py              # some minutes

An LSTM reads a sentence and gives a normal law of codes z; another LSTM writes the sentence from z.
The sentences are drawn from a small grammar, so that what the model writes from z ~ N(0, I) can be
checked word by word: does the verb agree with its subject, is the sentence new?
"""

from __future__ import annotations

import argparse
import random

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.models import kl_standard_normal
from tinygen.text import pad_sequences

FREE = 6.0      # nats of KL that cost nothing: z may say so much before it pays (free bits)
PAD, START, STOP, UNKNOWN = 0, 1, 2, 3
ADJECTIVES = ["small", "big", "old", "young", "red", "quiet"]
NOUNS = ["cat", "dog", "bird", "girl", "painter", "robot"]
VERBS = ["see", "hear", "follow", "draw", "know", "like"]
ENDINGS = [[], ["today"], ["every", "day"], ["at", "night"]]


def sentence(rng):
    """`the old dogs hear a bird at night`: the verb agrees with its subject."""
    def group(plural):
        article = rng.choice(["the", "some"]) if plural else rng.choice(["the", "a"])
        return [article, *rng.sample(ADJECTIVES, rng.randint(0, 1)),
                rng.choice(NOUNS) + "s" * plural]
    plural = rng.random() < 0.5
    verb = rng.choice(VERBS) + "s" * (not plural)
    return [*group(plural), verb, *group(rng.random() < 0.5), *rng.choice(ENDINGS)]


def is_sentence(words):
    """Whether the grammar above can make these words."""
    words, numbers, verb = list(words), [], None
    for part in ("subject", "verb", "object"):
        if part == "verb":
            verb = words.pop(0) if words else ""
            continue
        article = words.pop(0) if words else ""
        if words and words[0] in ADJECTIVES:
            words.pop(0)
        noun = words.pop(0) if words else ""
        plural = noun.endswith("s")
        if noun.removesuffix("s") not in NOUNS or article not in ("the", "some" if plural else "a"):
            return False
        numbers.append(plural)
    fits = verb in VERBS if numbers[0] else verb.endswith("s") and verb[:-1] in VERBS
    return fits and words in ENDINGS


class TextVAE(nn.Module):
    """Sentences as numbers (N, T) -> codes (N, latent) -> logits of the words (N, T, V)."""

    def __init__(self, vocabulary, width, latent):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.encoder = nn.LSTM(width, width, batch_first=True)
        self.moments = nn.Linear(width, 2 * latent)
        self.start = nn.Linear(latent, 2 * width)         # z -> the decoder's first state
        self.decoder = nn.LSTM(width + latent, width, batch_first=True)
        self.words = nn.Linear(width, vocabulary)

    def encode(self, ids, lengths):
        """Mean and log variance of q(z | x), each (N, latent): from the last word's state."""
        _, (h, _) = self.encoder(self.embedding(ids), lengths=lengths)        # h: (1, N, width)
        return tg.split(self.moments(h[0]), 2, axis=1)

    def state(self, z):
        """The decoder's state before the first word: h and c, each (1, N, width)."""
        h, c = tg.split(tg.tanh(self.start(z)), 2, axis=1)
        return h[None], c[None]

    def decode(self, ids, z, state):
        """Logits of the word after each of ids (N, T): (N, T, V), and the new state."""
        every = tg.broadcast_to(z[:, None], (*ids.shape, z.shape[1]))         # z at every step
        inputs = tg.concat([self.embedding(ids), every], axis=2)     # (N, T, width + latent)
        output, state = self.decoder(inputs, state)
        return self.words(output), state


def elbo(model, ids, lengths, drop):
    """Words' cross-entropy and KL, each in nats a sentence; pads carry no loss."""
    mean, logvar = model.encode(ids[:, 1:], lengths)
    z = mean + tg.exp(logvar / 2) * tg.randn(*mean.shape)
    # Word dropout: where words that were written are hidden, the next one has to come from z.
    hidden = (tg.rand(*ids.shape) < drop) & (ids > UNKNOWN)
    seen = tg.where(hidden, UNKNOWN, ids)
    logits, _ = model.decode(seen[:, :-1], z, model.state(z))                 # (N, T - 1, V)
    words = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                                        ids[:, 1:].reshape(-1), ignore_index=PAD, reduction="sum")
    return words / len(ids), kl_standard_normal(mean, logvar).mean()


def write(model, z, temperature=1.0, longest=16):
    """Sentences as rows of word numbers from codes z, one word after the other."""
    with tg.no_grad():
        state, word, rows = model.state(z), tg.full((len(z), 1), START, dtype=tg.int64), []
        for _ in range(longest):
            logits, state = model.decode(word, z, state)                      # (N, 1, V)
            if temperature:
                word = tg.multinomial(tg.softmax(logits[:, 0] / temperature, axis=1), 1)
            else:
                word = tg.argmax(logits, axis=2)
            rows.append(word.numpy()[:, 0])
    return np.stack(rows, axis=1)                                             # (N, longest)


def as_words(row, vocabulary):
    """The words up to the stop."""
    numbers = [int(i) for i in row if i != START]
    return [vocabulary[i] for i in numbers[:numbers.index(STOP) if STOP in numbers else None]]


def main() -> dict[str, float]:
    """Train; returns the losses of the first and the last epoch, shares of right and new ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sentences, under 20 seconds")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tg.manual_seed(args.seed)
    rng = random.Random(args.seed)

    count = 1500 if args.quick else 8000
    corpus = [sentence(rng) for _ in range(count)]
    words = sorted({word for words in corpus for word in words})
    vocabulary = ["<pad>", "<start>", "<stop>", "<unknown>", *words]
    number = {word: i for i, word in enumerate(vocabulary)}
    coded = [[START, *(number[w] for w in s), STOP] for s in corpus]
    ids = tg.Tensor(pad_sequences(coded, padding="post", value=PAD, dtype="int64"))   # (N, T)
    lengths = np.array([len(s) - 1 for s in coded])                # without the start

    model = TextVAE(len(vocabulary), 64 if args.quick else 128, 16)
    optimizer = optim.Adam(model.parameters(), lr=5e-3 if args.quick else 2e-3)
    epochs, history = args.epochs or (8 if args.quick else 20), []
    for epoch in range(1, epochs + 1):
        weight = min(1.0, (epoch - 1) / (0.6 * epochs))  # KL annealing: z is used before it costs
        order, sums = np.random.default_rng([args.seed, epoch]).permutation(count), np.zeros(2)
        for start in range(0, count, 50):
            batch = order[start:start + 50]
            words, kl = elbo(model, ids[batch], lengths[batch], drop=0.4)
            optimizer.zero_grad()
            (words + weight * tg.maximum(kl, FREE)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            sums += np.array([words.item(), kl.item()]) * len(batch) / count
        history.append(sums.sum())
        print(f"epoch {epoch}: {sums.sum():.2f} nats a sentence = words {sums[0]:.2f} "
              f"+ KL {sums[1]:.2f} (weight {weight:.2f})")

    known = {tuple(s) for s in corpus}
    made = [as_words(row, vocabulary) for row in write(model, tg.randn(500, 16), temperature=0.5)]
    right = np.mean([is_sentence(s) for s in made])
    new = np.mean([is_sentence(s) and tuple(s) not in known for s in made])
    print(f"from z ~ N(0, I): {right:.1%} are sentences of the grammar, {new:.1%} also new")
    for words in made[:5]:
        print("   ", " ".join(words))
    with tg.no_grad():
        ends, _ = model.encode(ids[:2, 1:], lengths[:2])
    share = tg.linspace(0, 1, 5)[:, None]
    for words in write(model, ends[:1] * (1 - share) + ends[1:] * share, temperature=0):
        print("  ->", " ".join(as_words(words, vocabulary)))
    return {"first loss": history[0], "loss": history[-1], "KL": sums[1], "right": right,
            "new": new}


if __name__ == "__main__":
    main()
