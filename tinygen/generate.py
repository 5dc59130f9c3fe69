"""Sequences from a language model: greedy, sampled, or by beam search.

A model is a function from token numbers (N, L) to logits (N, L, V), or to those of the next token,
(N, V). With a cache it is called as `model(tokens, cache=cache)` with the tokens that are new.

>>> import numpy as np, tinygen as tg
>>> def count_up(tokens):                      # after n comes n + 1
...     return tg.one_hot((tokens + 1) % 5, 5) * 100.0
>>> greedy(count_up, [[0]], 3).tolist()
[[0, 1, 2, 3]]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import backend
from .backend import Generator
from .grad_mode import no_grad
from .random.draws import _stream
from .tensor import Tensor

__all__ = ["Beams", "beam_search", "filter_logits", "greedy", "penalize_repetition", "sample"]


# -- which tokens may come next --------------------------------------------------------------------


def filter_logits(logits: Any, temperature: float = 1.0, top_k: int | None = None,
                  top_p: float | None = None, min_p: float | None = None) -> np.ndarray:
    """Logits (..., V) divided by `temperature`, and -inf for tokens that shall not come.

    The filters apply one after another, each to the distribution that the one before left.

    Args:
        top_k: the `top_k` most likely tokens stay.
        top_p: the smallest set of most likely tokens stays whose probabilities sum to `top_p`.
        min_p: tokens stay that have at least `min_p` times the probability of the most likely one.

    Among equally likely tokens the first ones stay.

    Sources: A. Fan et al., "Hierarchical Neural Story Generation", ACL 2018 (top-k); A. Holtzman
    et al., "The Curious Case of Neural Text Degeneration", ICLR 2020 (top-p); M. Nguyen et al.,
    "Turning Up the Heat: Min-p Sampling", ICLR 2025.

    >>> filter_logits([3.0, 1.0, 2.0], top_k=2)
    array([  3., -inf,   2.])
    """
    _check_filters(temperature, top_k, top_p, min_p)
    x = np.array(logits.numpy() if isinstance(logits, Tensor) else logits, np.float64)
    x /= temperature
    if top_k is not None and top_k < x.shape[-1]:
        order = np.argsort(-x, axis=-1, kind="stable")
        np.put_along_axis(x, order[..., top_k:], -np.inf, axis=-1)
    if top_p is not None and top_p < 1:
        order = np.argsort(-x, axis=-1, kind="stable")
        p = np.take_along_axis(_softmax(x), order, axis=-1)
        before = np.cumsum(p, axis=-1) - p          # the probability of all more likely tokens
        kept = np.take_along_axis(x, order, axis=-1)
        kept[..., 1:][before[..., 1:] >= top_p] = -np.inf
        np.put_along_axis(x, order, kept, axis=-1)
    if min_p is not None:
        p = _softmax(x)
        x[p < min_p * p.max(axis=-1, keepdims=True)] = -np.inf
    return x


def _check_filters(temperature: float, top_k: int | None, top_p: float | None,
                   min_p: float | None) -> None:
    if not temperature > 0:
        raise ValueError(f"[filter_logits] temperature must be positive, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"[filter_logits] top_k must be at least 1, got {top_k}")
    for name, p in (("top_p", top_p), ("min_p", min_p)):
        if p is not None and not 0 <= p <= 1:
            raise ValueError(f"[filter_logits] {name} must be in [0, 1], got {p}")


def penalize_repetition(logits: Any, tokens: Any, penalty: float) -> np.ndarray:
    """Logits (N, V) of the tokens that a row of `tokens` (N, L) holds, made smaller.

    Positive ones are divided by `penalty`, negative ones multiplied.

    Source: N. Keskar et al., "CTRL", 2019.
    """
    if not penalty > 0:
        raise ValueError(f"[penalize_repetition] penalty must be positive, got {penalty}")
    x = np.array(logits.numpy() if isinstance(logits, Tensor) else logits, np.float64)
    seen = np.asarray(tokens.numpy() if isinstance(tokens, Tensor) else tokens)
    values = np.take_along_axis(x, seen, axis=-1)
    np.put_along_axis(x, seen, np.where(values > 0, values / penalty, values * penalty), axis=-1)
    return x


def _softmax(x: np.ndarray) -> np.ndarray:
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _draw(logits: np.ndarray, generator: Generator) -> np.ndarray:
    """One token of each row: where a uniform number falls in the cumulated weights."""
    total = np.exp(logits - logits.max(axis=-1, keepdims=True)).cumsum(axis=-1)
    u = backend.to_device(generator.stream.random((len(logits), 1)), "cpu")
    whole = total[:, -1:]
    at = np.minimum(u * whole, np.nextafter(whole, 0))
    return np.count_nonzero(total <= at, axis=-1)


# -- one sequence per prompt -----------------------------------------------------------------------


def greedy(model: Callable[..., Any], prompt: Any, max_new_tokens: int, **options: Any) -> Tensor:
    """The most likely token at every step; options as in `sample`."""
    return sample(model, prompt, max_new_tokens, temperature=0.0, **options)


def sample(model: Callable[..., Any], prompt: Any, max_new_tokens: int, *,
           temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
           min_p: float | None = None, repetition_penalty: float = 1.0,
           eos: int | Collection[int] | None = None, pad: int | None = None, cache: Any = None,
           generator: Generator | None = None) -> Tensor:
    """Each prompt continued by tokens drawn from the model, (N, T) with the prompt in front.

    Args:
        prompt: (N, L) token numbers, or N lists of different lengths.
        max_new_tokens: at most so many tokens are added to each prompt.
        temperature: the logits are divided by it; 0 takes the most likely token.
        top_k, top_p, min_p: see `filter_logits`.
        repetition_penalty: see `penalize_repetition`; 1 changes nothing.
        eos: a token, or several, that ends a sequence; `pad` (default: the first eos, or 0)
            fills what comes after it.
        cache: an empty `nn.DecodingCache` for a model that takes one.
        generator: the draws come from it (default: the CPU's).
    """
    ends = _ends(eos)
    fill = pad if pad is not None else (ends[0] if ends else 0)
    tokens, lengths = _prompts(prompt, max_new_tokens, fill, "sample")
    _empty(cache, "sample")
    if temperature:
        _check_filters(temperature, top_k, top_p, min_p)
    draws = _stream(generator, None)
    open_ = np.full(len(tokens), max_new_tokens > 0)
    t, fed = int(lengths.min()), 0
    with no_grad(), _evaluating(model):
        while open_.any():
            logits = _next_logits(model, tokens[:, fed:t], cache)
            fed = t if cache is not None else 0
            if repetition_penalty != 1:
                logits = penalize_repetition(logits, tokens[:, :t], repetition_penalty)
            if temperature:
                new = _draw(filter_logits(logits, temperature, top_k, top_p, min_p), draws)
            else:
                new = logits.argmax(axis=-1)
            writing = open_ & (t >= lengths)          # the others: still in the prompt, or done
            np.copyto(tokens[:, t], new, where=writing)
            if ends:
                open_[writing & np.isin(new, ends)] = False
            t += 1
            open_ &= t < lengths + max_new_tokens
    return Tensor(tokens[:, :max(t, int(lengths.max()))])


def _prompts(prompt: Any, new: int, fill: int, op: str) -> tuple[np.ndarray, np.ndarray]:
    """Prompts as rows with room for `new` tokens after the longest, and their lengths."""
    rows: list[np.ndarray] = [np.asarray(row) for row in (
        prompt.numpy() if isinstance(prompt, Tensor) else prompt)]
    if new < 0:
        raise ValueError(f"[{op}] max_new_tokens must not be negative, got {new}")
    if not rows or any(r.ndim != 1 or not r.size or r.dtype.kind not in "iu" for r in rows):
        raise ValueError(f"[{op}] prompt must be (N, L) integers, or N lists of them, each with "
                         "at least one token")
    lengths = np.array([len(r) for r in rows])
    tokens = np.full((len(rows), lengths.max() + new), fill, np.int64)
    for i, row in enumerate(rows):
        tokens[i, :len(row)] = row
    return tokens, lengths


def _ends(eos: int | Collection[int] | None) -> list[int]:
    return [] if eos is None else [eos] if isinstance(eos, int) else [int(e) for e in eos]


def _empty(cache: Any, op: str) -> None:
    if cache is not None and cache.length:
        raise ValueError(f"[{op}] the cache holds {cache.length} tokens already; give an empty one")


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """A module in evaluation mode for a while."""
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _next_logits(model: Callable[..., Any], tokens: np.ndarray, cache: Any) -> np.ndarray:
    """The logits of the token after the last one, (N, V), in float64."""
    given = Tensor(tokens, device=_place(model))
    out = model(given) if cache is None else model(given, cache=cache)
    logits = np.asarray(out.numpy() if isinstance(out, Tensor) else out, np.float64)
    if logits.ndim not in (2, 3) or len(logits) != len(tokens):
        raise ValueError(f"[generate] the model made {logits.shape} of tokens {tokens.shape}; "
                         "logits (N, L, V) or (N, V) are expected")
    return logits if logits.ndim == 2 else logits[:, -1]


def _place(model: Any) -> str:
    """The device of a module; a function is given tokens of the CPU."""
    weights = getattr(model, "parameters", None)
    return "cpu" if weights is None else next((p.device for p in weights()), "cpu")


# -- beam search -----------------------------------------------------------------------------------


class Beams(NamedTuple):
    """What `beam_search` found, best first: tokens (N, R, T) with the prompt, scores (N, R)."""

    tokens: Tensor
    scores: Tensor


def beam_search(model: Callable[..., Any], prompt: Any, max_new_tokens: int, num_beams: int, *,
                length_penalty: float = 0.0, penalty: str = "gnmt",
                eos: int | Collection[int] | None = None, pad: int | None = None,
                num_return: int = 1, cache: Any = None) -> Beams:
    """The most likely continuations that a search with `num_beams` open sequences finds.

    The score of a sequence of n new tokens (eos counts) is log p / n^a for penalty "plain", and
    log p / ((5 + n) / 6)^a for "gnmt", with a = `length_penalty`. The search ends when no open
    sequence can get among the best `num_beams` that have ended.

    The model is always given N * num_beams rows, those of one prompt side by side: what else it
    depends on, such as an encoder's output, has to be repeated so (`tg.repeat(x, num_beams, 0)`).

    Args:
        prompt: (N, L) token numbers.
        num_return: R, how many sequences to return for each prompt.
        eos, pad, cache: as in `sample`.

    Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016, section 7.
    """
    if num_beams < 1 or not 1 <= num_return <= num_beams:
        raise ValueError(f"[beam_search] 1 <= num_return <= num_beams is needed, got "
                         f"{num_return} and {num_beams}")
    if penalty not in ("gnmt", "plain"):
        raise ValueError(f"[beam_search] penalty must be 'gnmt' or 'plain', got {penalty!r}")
    ends = _ends(eos)
    fill = pad if pad is not None else (ends[0] if ends else 0)
    tokens, lengths = _prompts(prompt, max_new_tokens, fill, "beam_search")
    if len(set(lengths.tolist())) > 1:
        raise ValueError("[beam_search] all prompts must have one length, got "
                         f"{sorted(set(lengths.tolist()))}")
    _empty(cache, "beam_search")
    n, start, beams = len(tokens), int(lengths[0]), num_beams

    def scored(log_p: float, count: int) -> float:
        return log_p / ((5 + count) / 6 if penalty == "gnmt" else max(count, 1)) ** length_penalty
    rows = np.repeat(tokens, beams, axis=0)                     # (N * beams, T)
    log_p = np.full((n, beams), -np.inf)
    log_p[:, 0] = 0                                             # one open sequence to begin with
    ended: list[list[tuple[float, np.ndarray]]] = [[] for _ in range(n)]
    with no_grad(), _evaluating(model):
        for t in range(start, start + max_new_tokens):
            fed = 0 if cache is None or t == start else t - 1
            logits = _next_logits(model, rows[:, fed:t], cache)
            total = log_p[:, :, None] + _log_softmax(logits).reshape(n, beams, -1)
            origin = np.arange(n * beams)
            before, rows = rows, rows.copy()
            log_p = np.full((n, beams), -np.inf)
            for i in range(n):
                kept = _grow(total[i], beams, ends, ended[i], before[i * beams:(i + 1) * beams], t,
                             lambda s, t=t: scored(s, t - start + 1))  # type: ignore[misc]
                for slot, (value, beam, token) in enumerate(kept):
                    at = i * beams + slot
                    origin[at], log_p[i, slot] = i * beams + beam, value
                    rows[at] = before[i * beams + beam]
                    rows[at, t] = token
                best = float(log_p[i].max())                    # it may only fall from here on
                if len(ended[i]) >= beams and ended[i][beams - 1][0] >= max(
                        scored(best, c) for c in (t - start + 2, max_new_tokens)):
                    log_p[i] = -np.inf
            if cache is not None:
                cache.reorder(origin)
            if np.isneginf(log_p).all():
                break
    for i in range(n):
        ended[i] += [(scored(float(s), max_new_tokens), rows[i * beams + b])
                     for b, s in enumerate(log_p[i]) if s > -np.inf]
    return _best(ended, num_return, tokens)


def _grow(total: np.ndarray, beams: int, ends: list[int], ended: list[tuple[float, np.ndarray]],
          rows: np.ndarray, t: int, scored: Callable[[float], float],
          ) -> list[tuple[float, int, int]]:
    """The best `beams` sequences that go on, of one prompt; those that end are noted, sorted.

    Sequences that end count if they are among the best `beams` candidates.
    """
    vocabulary = total.shape[1]
    flat = total.reshape(-1)
    kept: list[tuple[float, int, int]] = []
    for rank, at in enumerate(_largest(flat, beams * (1 + len(ends)))):
        value, (beam, token) = float(flat[at]), divmod(int(at), vocabulary)
        if value == -np.inf or len(kept) == beams:
            break
        if token not in ends:
            kept.append((value, beam, token))
        elif rank < beams:
            row = rows[beam].copy()
            row[t] = token
            ended.append((scored(value), row))
    ended.sort(key=lambda pair: -pair[0])
    return kept


def _largest(x: np.ndarray, n: int) -> np.ndarray:
    """Where the `n` largest of x stand, in order; of equal ones the first. Sorts only those."""
    down = -x
    least = np.partition(down, n - 1)[n - 1] if n < len(x) else np.inf
    at = np.flatnonzero(down <= least)
    return at[np.argsort(down[at], kind="stable")[:n]]


def _best(ended: list[list[tuple[float, np.ndarray]]], count: int, tokens: np.ndarray) -> Beams:
    """The best sequences of each prompt; where there are fewer than `count`, the prompt with
    score -inf fills the place."""
    out = np.repeat(tokens[:, None], count, axis=1)
    scores = np.full(out.shape[:2], -np.inf)
    for i, found in enumerate(ended):
        for j, (score, row) in enumerate(sorted(found, key=lambda pair: -pair[0])[:count]):
            out[i, j], scores[i, j] = row, score
    return Beams(Tensor(out), Tensor(scores))
