"""Sentences by recurrent networks: an LSTM language model, and a VAE whose decoder it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import generate, nn, ops, optim, random
from ..backend import Generator
from ..nn import functional as F
from ..tensor import Tensor
from .base import check_positive, inference, interpolate, learnt, placed
from .vae import grown, kl_standard_normal

__all__ = ["LSTMLanguageModel", "TextVAE"]

PAD, UNK, BOS, EOS = 0, 1, 2, 3     # the numbers that the tokenizers of tinygen.text give them

State = tuple[Tensor, Tensor]


class _LSTMState:
    """What a recurrent decoder remembers, as a `cache` of `tinygen.generate`."""

    def __init__(self) -> None:
        self.length = 0
        self.state: State | None = None

    def reorder(self, index: Any) -> None:
        """Go on from these rows; beam search asks for it."""
        if self.state is not None:
            h, c = self.state
            self.state = h[:, index], c[:, index]


class _SentenceModel(nn.Module):
    """What both models share: tokens (N, T) from `<bos>` to `<eos>`, filled up with 0."""

    name: str
    vocab_size: int
    options: dict[str, Any]

    def config(self) -> dict[str, Any]:
        """JSON-serialisable arguments that give the same architecture again."""
        return {"name": self.name, "vocab_size": self.vocab_size, **self.options}

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 2e-3."""
        return {"model": optim.Adam(learnt(self), lr=2e-3 if lr is None else lr)}

    def losses(self, tokens: Any) -> dict[str, Tensor]:
        """What `training_step` minimises (`loss`) and its parts, recorded."""
        raise NotImplementedError(f"{type(self).__name__} has no losses()")

    def training_step(self, tokens: Any, lengths: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from tokens (N, T); `lengths` is not looked at. Returns the losses."""
        if not self.training:
            self.train()
        losses = self.losses(tokens)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in losses.items()}

    def prepare(self, tokens: Any) -> Tensor:
        """Tokens (N, T) as a tensor; ValueError for what is no batch of sentences."""
        given = tokens if isinstance(tokens, Tensor) else Tensor(tokens)
        if given.ndim != 2 or given.dtype.kind not in "iu" or not len(given) or given.shape[1] < 2:
            raise ValueError(f"[{self.name}] tokens: {given.dtype} {given.shape}; integers (N, T), "
                             "each row from <bos> to <eos> and then 0, are expected")
        return given.to(device=next(iter(self.parameters())).device)

    def _words(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """-log p of the words of each sentence, (N,); logits: (N, T - 1, V)."""
        flat = F.cross_entropy(logits.reshape(-1, self.vocab_size), tokens[:, 1:].reshape(-1),
                               ignore_index=PAD, reduction="none")
        return flat.reshape(len(tokens), -1).sum(axis=1)

    def _write(self, step: Any, n: int, longest: int, temperature: float,
               generator: Generator | None, filters: dict[str, Any]) -> Tensor:
        check_positive(self.name, n=n, longest=longest)
        never = np.zeros(self.vocab_size, np.float32)
        never[[PAD, UNK, BOS]] = -1e9                # these are no words

        def words(tokens: Tensor, cache: _LSTMState) -> Tensor:
            return step(tokens, cache) + Tensor(never, device=tokens.device)          # (N, 1, V)
        with inference(self):
            return generate.sample(words, [[BOS]] * n, longest, temperature=temperature, eos=EOS,
                                   pad=PAD, cache=_LSTMState(), generator=generator, **filters)


class LSTMLanguageModel(_SentenceModel):
    """Sentences word by word: tokens (N, T) to the logits of the token after each, (N, T, V).

    Word embeddings pass through an LSTM and a linear layer. The loss, in nats per sentence, is
    -sum over t of log p(x_t | x_1 .. x_{t-1}), `<eos>` included, `<bos>` not.

    Args:
        vocab_size: V, how many tokens there are; 0 to 3 are `<pad>`, `<unk>`, `<bos>`, `<eos>`.
        width, hidden: numbers for each word and in the LSTM's state.
        dropout: the rate of dropout on embeddings and on the LSTM's output.

    Source: T. Mikolov et al., "Recurrent neural network based language model", Interspeech 2010;
    M. Sundermeyer et al., "LSTM Neural Networks for Language Modeling", Interspeech 2012.

    >>> LSTMLanguageModel(9, width=4, hidden=8)([[2, 5, 6], [2, 7, 3]]).shape
    (2, 3, 9)
    """

    def __init__(self, vocab_size: int, *, width: int = 64, hidden: int = 128,
                 dropout: float = 0.0, name: str = "lstm"):
        super().__init__()
        check_positive(name, vocab_size=vocab_size, width=width, hidden=hidden)
        self.name, self.vocab_size = name, vocab_size
        self.options = {"width": width, "hidden": hidden, "dropout": dropout}
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.LSTM(width, hidden, batch_first=True)
        self.words = nn.Linear(hidden, vocab_size)

    def forward(self, tokens: Any, cache: _LSTMState | None = None) -> Tensor:
        """Logits (N, T, V); with a `cache`, tokens are those after the ones that it has seen."""
        tokens = placed(self, tokens)
        x = self.dropout(self.embedding(tokens))                             # (N, T, width)
        y, state = self.decoder(x, None if cache is None else cache.state)   # (N, T, hidden)
        if cache is not None:
            cache.state, cache.length = state, cache.length + tokens.shape[1]
        return self.words(self.dropout(y))                                   # (N, T, V)

    def losses(self, tokens: Any) -> dict[str, Tensor]:
        """`loss`, nats per sentence."""
        tokens = self.prepare(tokens)
        return {"loss": self._words(self(tokens[:, :-1]), tokens).mean()}

    def evaluate(self, tokens: Any, lengths: Any = None) -> dict[str, Tensor]:
        """`loss` in eval mode; exp(loss / tokens of a sentence), of means, is the perplexity."""
        with inference(self):
            return self.losses(tokens)

    def log_likelihood(self, tokens: Any) -> Tensor:
        """log p of each sentence, (N,), in nats."""
        with inference(self):
            tokens = self.prepare(tokens)
            return -self._words(self(tokens[:, :-1]), tokens)

    def write(self, n: int, longest: int = 60, temperature: float = 1.0,
              generator: Generator | None = None, **filters: Any) -> Tensor:
        """`n` sentences of at most `longest` tokens, (n, T): `<bos>` first, 0 after `<eos>`.

        Filters are those of `tinygen.generate.sample`.
        """
        return self._write(self, n, longest, temperature, generator, filters)


class TextVAE(_SentenceModel):
    """Sentences through a code: an LSTM reads one, another writes it from z ~ q(z | x).

    The reader goes both ways; its last states give mu and log sigma^2. The writer has z in its
    first state and beside every word. The bound on log p(x), in nats per sentence, is

    ELBO = E_q[sum over t of log p(x_t | x_1 .. x_{t-1}, z)] - KL(q(z | x) || N(0, I)).

    A writer that knows the words before has little need of z, and training may end with KL = 0
    (posterior collapse). Three things are against it: the weight of the KL grows from 0 over the
    first `anneal_steps` updates; up to `free_nats` of KL (a mean over the batch) cost nothing; and
    words that the writer sees are hidden with the rate `word_dropout`. All three change training
    alone: `evaluate` and `log_likelihood` have the bound as it stands above.

    Args:
        vocab_size, width, hidden, dropout: see `LSTMLanguageModel`.
        latent: the length of z.
        word_dropout: the rate at which training hides words (as token 1, `<unk>`) from the writer.
        anneal_steps: updates until the KL has its whole weight; 0 for all of it from the start.
        free_nats: KL that costs nothing while training.

    Sources: S. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016;
    D. P. Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", NIPS
    2016 (free bits).

    >>> model = TextVAE(9, width=4, hidden=8, latent=2)
    >>> model.generate(model.noise(3), longest=5).shape[0]
    3
    """

    def __init__(self, vocab_size: int, *, width: int = 64, hidden: int = 128, latent: int = 16,
                 dropout: float = 0.0, word_dropout: float = 0.3, anneal_steps: int = 1000,
                 free_nats: float = 4.0, name: str = "text-vae"):
        super().__init__()
        check_positive(name, vocab_size=vocab_size, width=width, hidden=hidden, latent=latent)
        if not 0 <= word_dropout < 1 or anneal_steps < 0 or free_nats < 0:
            raise ValueError(f"[{name}] word_dropout must lie in [0, 1), anneal_steps and "
                             f"free_nats must not be negative; got {word_dropout}, "
                             f"{anneal_steps} and {free_nats}")
        self.name, self.vocab_size, self.latent = name, vocab_size, latent
        self.options = {"width": width, "hidden": hidden, "latent": latent, "dropout": dropout,
                        "word_dropout": word_dropout, "anneal_steps": anneal_steps,
                        "free_nats": free_nats}
        self.word_dropout, self.free_nats = word_dropout, free_nats
        self.anneal_steps = anneal_steps
        self.register_buffer("updates", ops.zeros(1))
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.mu, self.logvar = nn.Linear(2 * hidden, latent), nn.Linear(2 * hidden, latent)
        self.start = nn.Linear(latent, 2 * hidden)
        self.decoder = nn.LSTM(width + latent, hidden, batch_first=True)
        self.words = nn.Linear(hidden, vocab_size)

    def begin_with(self, model: LSTMLanguageModel) -> None:
        """Give the writer the weights of a trained language model of the same sizes."""
        sizes = ("width", "hidden")
        if model.vocab_size != self.vocab_size or any(model.options[k] != self.options[k]
                                                      for k in sizes):
            raise ValueError(f"[{self.name}] begin_with: a language model of {model.vocab_size} "
                             f"tokens and {model.options}; {self.vocab_size} tokens and "
                             f"{ {k: self.options[k] for k in sizes} } are expected")
        theirs = model.state_dict()
        for key in theirs:
            ours, value = self.get_parameter(key), theirs[key]
            if key == "decoder.weight_ih_l0":            # the columns of z stay as drawn
                value = ops.concat([value, ours.detach()[:, value.shape[1]:]], axis=1)
            ours.assign_(value)

    # -- the two networks -----------------------------------------------------------------------

    def posterior(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z | x), each (N, latent), recorded. Padding changes nothing."""
        x = self.dropout(self.embedding(tokens[:, 1:]))                      # (N, T - 1, width)
        lengths = ops.maximum(ops.not_equal(tokens[:, 1:], PAD).sum(axis=1), 1)   # (N,)
        _, (h, _) = self.encoder(x, lengths=lengths)                         # (2, N, hidden)
        features = self.dropout(ops.concat([h[0], h[1]], axis=1))            # (N, 2 hidden)
        return self.mu(features), self.logvar(features)

    def state(self, z: Tensor) -> State:
        """The writer's state before the first word: h and c, each (1, N, hidden)."""
        h, c = ops.split(ops.tanh(self.start(z)), 2, axis=1)
        return h[None], c[None]

    def logits(self, tokens: Tensor, z: Tensor, cache: _LSTMState | None = None) -> Tensor:
        """Logits (N, T, V) of the word after each of tokens (N, T), for codes z (N, latent)."""
        beside = ops.broadcast_to(z[:, None], (*tokens.shape, self.latent))
        x = ops.concat([self.dropout(self.embedding(tokens)), beside], axis=2)
        state = self.state(z) if cache is None or cache.state is None else cache.state
        y, state = self.decoder(x, state)                                    # (N, T, hidden)
        if cache is not None:
            cache.state, cache.length = state, cache.length + tokens.shape[1]
        return self.words(self.dropout(y))

    def noise(self, n: int, generator: Generator | None = None) -> Tensor:
        """`n` codes from N(0, I), (n, latent)."""
        like = self.mu.weight
        return random.normal((n, self.latent), dtype=like.dtype, device=like.device,
                             generator=generator)

    def forward(self, tokens: Any, generator: Generator | None = None
                ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, T - 1, V) of the words after the first, mu and log sigma^2 (N, latent)."""
        tokens = self.prepare(tokens)
        mu, logvar = self.posterior(tokens)
        z = mu + ops.exp(0.5 * logvar) * self.noise(len(tokens), generator)
        return self.logits(self._seen(tokens[:, :-1]), z), mu, logvar

    def _seen(self, tokens: Tensor) -> Tensor:
        """The tokens that the writer sees: while training, some words are hidden."""
        if not self.training or not self.word_dropout:
            return tokens
        kept = F.dropout(ops.ones(tokens.shape, device=tokens.device), self.word_dropout)
        hidden = ops.logical_and(ops.equal(kept, 0), ops.greater(tokens, EOS))
        return ops.where(hidden, UNK, tokens)

    # -- learning ---------------------------------------------------------------------------------

    def losses(self, tokens: Any, generator: Generator | None = None) -> dict[str, Tensor]:
        """`loss`, `reconstruction` and `kl`, nats per sentence, recorded.

        In training mode `loss` has the KL's grown weight and the free nats; else it is -ELBO.
        """
        tokens = self.prepare(tokens)
        logits, mu, logvar = self(tokens, generator)
        words, kl = self._words(logits, tokens).mean(), kl_standard_normal(mu, logvar)
        price = kl
        if self.training:
            price = grown(self.updates, self.anneal_steps) * ops.maximum(kl, self.free_nats)
        return {"loss": words + price, "reconstruction": words, "kl": kl}

    def training_step(self, tokens: Any, lengths: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from tokens (N, T); `lengths` is not looked at. Returns the losses."""
        losses = super().training_step(tokens, lengths, optimizers)
        self.updates.assign_(self.updates + 1)
        return losses

    def evaluate(self, tokens: Any, lengths: Any = None,
                 generator: Generator | None = None) -> dict[str, Tensor]:
        """`loss` (-ELBO), `reconstruction` and `kl` in nats per sentence, with one draw of z each.

        exp(loss / tokens per sentence) is an upper bound on the perplexity.
        """
        with inference(self):
            return self.losses(tokens, generator)

    def log_likelihood(self, tokens: Any, samples: int = 50,
                       generator: Generator | None = None) -> Tensor:
        """A lower bound on log p of each sentence, (N,), that grows with `samples`, K.

        E log(1/K sum over k of p(x | z_k) p(z_k) / q(z_k | x)), z_k ~ q(z | x). With K = 1 it is
        the ELBO on average; for K -> infinity it is log p(x).

        Source: Y. Burda et al., "Importance Weighted Autoencoders", ICLR 2016.
        """
        check_positive(self.name, samples=samples)
        with inference(self):
            tokens = self.prepare(tokens)
            mu, logvar = self.posterior(tokens)
            found = [self._weight(tokens, mu, logvar, generator) for _ in range(samples)]
            return ops.logsumexp(ops.stack(found), axis=0) - math.log(samples)

    def _weight(self, tokens: Tensor, mu: Tensor, logvar: Tensor,
                generator: Generator | None) -> Tensor:
        """log p(x | z) + log p(z) - log q(z | x) for one draw of z a sentence, (N,)."""
        noise = self.noise(len(tokens), generator)
        z = mu + ops.exp(0.5 * logvar) * noise
        # the terms with log(2 pi) of the two normal laws cancel
        ratio = 0.5 * (noise * noise + logvar - z * z).sum(axis=1)
        return ratio - self._words(self.logits(tokens[:, :-1], z), tokens)

    # -- using ------------------------------------------------------------------------------------

    def encode(self, tokens: Any) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), each (N, latent), in eval mode."""
        with inference(self):
            return self.posterior(self.prepare(tokens))

    def generate(self, z: Any, longest: int = 60, temperature: float = 1.0,
                 generator: Generator | None = None, **filters: Any) -> Tensor:
        """Sentences (N, T) written from codes z (N, latent); temperature 0 takes likeliest words.

        A row begins with `<bos>`, has at most `longest` tokens after it, and 0 after `<eos>`.
        Filters are those of `tinygen.generate.sample`, such as `repetition_penalty`.
        """
        z = z if isinstance(z, Tensor) else Tensor(z)
        if z.ndim != 2 or z.shape[1] != self.latent or not len(z):
            raise ValueError(f"[{self.name}] z: {z.shape}; codes (N, {self.latent}) are expected")

        def step(tokens: Tensor, cache: _LSTMState) -> Tensor:
            return self.logits(tokens, z, cache)
        return self._write(step, len(z), longest, temperature, generator, filters)

    def interpolate(self, first: Any, last: Any, steps: int = 6, longest: int = 60,
                    **filters: Any) -> Tensor:
        """Sentences (steps, T) on the straight way between the codes of two, likeliest words.

        Args:
            first, last: token numbers (T,) of a sentence each, from `<bos>` to `<eos>`.
            filters: those of `tinygen.generate.sample`.
        """
        a, b = (self.encode([list(np.asarray(s))])[0][0] for s in (first, last))
        return self.generate(interpolate(a, b, steps), longest, temperature=0.0, **filters)
