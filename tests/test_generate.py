"""Decoding against definitions, enumeration of all sequences, and frequencies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tinygen as tg
from tinygen import nn
from tinygen.generate import (
    beam_search,
    filter_logits,
    greedy,
    penalize_repetition,
    sample,
)


class Table:
    """A language model whose logits depend on the last two tokens: a random table."""

    def __init__(self, vocabulary, seed=0, spread=2.0):
        rng = np.random.default_rng(seed)
        self.logits = spread * rng.standard_normal((vocabulary, vocabulary, vocabulary))

    def __call__(self, tokens):
        t = tokens.numpy()
        before = np.concatenate([np.zeros_like(t[:, :1]), t[:, :-1]], axis=1)
        return tg.Tensor(self.logits[before, t])

    def log_p(self, prompt, new):
        """log p of the continuation, token by token."""
        tokens, total = list(prompt), 0.0
        for token in new:
            last = self.logits[tokens[-2] if len(tokens) > 1 else 0, tokens[-1]]
            total += last[token] - np.log(np.exp(last).sum())
            tokens.append(token)
        return total


class Small(nn.Module):
    """A transformer language model that takes a cache."""

    def __init__(self, vocabulary=7, width=8, longest=20):
        super().__init__()
        self.table, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(
            width, 2, 16, dropout=0.3, batch_first=True, norm_first=True), 2)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens, cache=None):
        past, n = 0 if cache is None else cache.length, tokens.shape[1]
        x = self.table(tokens) + self.places(tg.arange(past, past + n))
        mask = None if cache is not None else nn.Transformer.generate_square_subsequent_mask(n)
        return self.head(self.body(x, mask, is_causal=True, cache=cache)) * 4


# -- filters ---------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(v=st.integers(1, 9), k=st.integers(1, 10), p=st.floats(0, 1), m=st.floats(0, 1),
       temperature=st.floats(0.2, 3), seed=st.integers(0, 99))
def test_filters_agree_with_their_definitions(v, k, p, m, temperature, seed):
    logits = np.random.default_rng(seed).standard_normal((2, v))
    scaled = logits / temperature
    kept_k, kept_p, kept_m = (np.isfinite(filter_logits(logits, temperature, **{name: x}))
                              for name, x in (("top_k", k), ("top_p", p), ("min_p", m)))
    for row in range(2):
        prob = np.exp(scaled[row]) / np.exp(scaled[row]).sum()
        ranked = sorted(range(v), key=lambda i: -prob[i])
        assert set(np.flatnonzero(kept_k[row])) == set(ranked[:k])
        nucleus = next((ranked[:n] for n in range(1, v + 1) if prob[ranked[:n]].sum() >= p), ranked)
        assert set(np.flatnonzero(kept_p[row])) == set(nucleus)
        enough = {i for i in range(v) if prob[i] >= m * prob.max()}
        assert set(np.flatnonzero(kept_m[row])) == enough
    np.testing.assert_allclose(filter_logits(logits, temperature), scaled)


def test_filters_follow_one_another():
    """top_p acts on what top_k left, min_p on what both left."""
    logits = np.log([[0.4, 0.3, 0.2, 0.1]])
    assert np.isfinite(filter_logits(logits, top_p=0.55)).sum() == 2
    assert np.isfinite(filter_logits(logits, top_k=2, top_p=0.55)).sum() == 1
    assert np.isfinite(filter_logits(logits, top_k=3, min_p=0.5)).sum() == 3
    assert np.isfinite(filter_logits([1.0, 1.0, 1.0], top_k=2)).tolist() == [True, True, False]


def test_repetition_penalty():
    x = penalize_repetition([[2.0, -2.0, 1.0]], [[0, 1, 0]], 2.0)
    assert x.tolist() == [[1.0, -4.0, 1.0]]
    model = Table(4, spread=0.1)
    out = greedy(model, [[2]], 3, repetition_penalty=1e6).tolist()[0]
    assert len(set(out)) == 4                    # every token once


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7},
                                     {"min_p": 0.2, "temperature": 2.0}])
def test_sampled_frequencies_are_those_of_the_distribution(options):
    model = Table(6, seed=3, spread=1.0)
    draws = sample(model, np.full((4000, 1), 2), 1, generator=tg.Generator(1), **options)
    counts = np.bincount(draws.numpy()[:, 1], minlength=6)
    kept = filter_logits(model.logits[0, 2], **options)
    expected = np.exp(kept - kept.max())
    expected *= 4000 / expected.sum()
    assert not counts[expected == 0].any()
    assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


# -- one sequence per prompt -----------------------------------------------------------------------


def test_greedy_takes_the_most_likely_token_and_seeds_repeat():
    model = Table(5)
    out = greedy(model, [[1, 3], [0, 0]], 6).numpy()
    for row in out:
        for t in range(2, 8):
            assert row[t] == model.logits[row[t - 2], row[t - 1]].argmax()
    assert np.array_equal(out, sample(model, [[1, 3], [0, 0]], 6, top_k=1).numpy())

    def run(seed):
        return sample(model, [[1]] * 3, 9, generator=tg.Generator(seed)).numpy()
    assert np.array_equal(run(1), run(1)) and not np.array_equal(run(1), run(2))
    assert greedy(model, tg.Tensor([[1, 3]]), 0).tolist() == [[1, 3]]


def test_ends_of_sequences_are_padded():
    def model(tokens):                             # after n comes n + 1
        return tg.one_hot((tokens + 1) % 9, 9) * 50.0
    out = greedy(model, [[3], [0], [5]], 5, eos=6, pad=8).tolist()
    assert out == [[3, 4, 5, 6, 8, 8], [0, 1, 2, 3, 4, 5], [5, 6, 8, 8, 8, 8]]
    assert greedy(model, [[3], [4]], 5, eos=[6, 5]).tolist() == [[3, 4, 5], [4, 5, 6]]


@pytest.mark.parametrize("cached", [True, False])
def test_prompts_of_different_lengths_are_as_alone(cached):
    model = Small().double()
    prompts = [[1, 2, 3, 4], [5], [6, 0]]

    def run(prompt):
        return greedy(model, prompt, 4, cache=nn.DecodingCache(2) if cached else None).tolist()
    together = run(prompts)
    for row, prompt in zip(together, prompts, strict=True):
        alone = run([prompt])[0]
        assert row[:len(alone)] == alone and not any(row[len(alone):])
    assert model.training                          # it was in evaluation mode meanwhile


def test_a_cache_changes_nothing():
    model, prompt = Small().double(), [[1, 2], [4, 3]]
    for run in (lambda **o: greedy(model, prompt, 8, **o).tolist(),
                lambda **o: sample(model, prompt, 8, generator=tg.Generator(3), **o).tolist(),
                lambda **o: beam_search(model, prompt, 8, 4, num_return=4, **o).tokens.tolist(),
                lambda **o: beam_search(model, prompt, 8, 3, eos=2, **o).tokens.tolist()):
        assert run() == run(cache=nn.DecodingCache(2))


# -- beam search -----------------------------------------------------------------------------------


def all_sequences(vocabulary, longest, ends):
    """Every continuation that ends with a token of `ends`, or has the full length."""
    for n in range(1, longest + 1):
        for new in itertools.product(range(vocabulary), repeat=n):
            if any(t in ends for t in new[:-1]) or (n < longest and new[-1] not in ends):
                continue
            yield new


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), eos=st.sampled_from([None, 0, (1, 2)]),
       alpha=st.sampled_from([0.0, 0.6, 1.0, 2.0]), penalty=st.sampled_from(["gnmt", "plain"]))
def test_a_full_beam_finds_the_best_sequences(seed, eos, alpha, penalty):
    v, longest, prompts = 3, 4, [[1, 2], [0, 1]]
    model = Table(v, seed)
    ends = () if eos is None else (eos,) if isinstance(eos, int) else eos
    found = beam_search(model, prompts, longest, v ** longest, eos=eos, num_return=5, pad=0,
                        length_penalty=alpha, penalty=penalty)
    for i, prompt in enumerate(prompts):
        def score(new, prompt=prompt):
            base = (5 + len(new)) / 6 if penalty == "gnmt" else len(new)
            return model.log_p(prompt, new) / base ** alpha
        every = {tuple(prompt + list(new) + [0] * (longest - len(new))): score(new)
                 for new in all_sequences(v, longest, ends)}
        rows = [tuple(row) for row in found.tokens.data[i].tolist()]
        assert len(set(rows)) == 5
        np.testing.assert_allclose(found.scores.data[i], sorted(every.values(), reverse=True)[:5])
        # sequences of the same pairs in another order are equally likely: any of them will do
        np.testing.assert_allclose(found.scores.data[i], [every[row] for row in rows])


@pytest.mark.parametrize("cached", [True, False])
def test_beams_of_an_encoder_decoder(cached):
    """Two sources together give what each gives alone; the cache keeps the memory's keys."""
    tg.manual_seed(0)           # weights for which the two sources do have different answers
    body = nn.Transformer(8, 2, 1, 2, 16, batch_first=True).double().eval()
    table, head = nn.Embedding(6, 8).double(), nn.Linear(8, 6).double()
    sources = tg.Tensor(np.random.default_rng(0).standard_normal((2, 5, 8)))

    def search(sources, n):
        memory = tg.repeat(body.encoder(sources), 3, axis=0)

        def model(tokens, cache=None):
            mask = None
            if cache is None:
                mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            return head(body.decoder(table(tokens), memory, mask, tgt_is_causal=True,
                                     cache=cache)) * 9
        return beam_search(model, [[1]] * n, 5, 3, eos=0, num_return=3,
                           cache=nn.DecodingCache(2) if cached else None)
    together = search(sources, 2)
    for i in range(2):
        alone = search(sources[i:i + 1], 1)
        assert together.tokens.data[i].tolist() == alone.tokens.data[0].tolist()
        np.testing.assert_allclose(together.scores.data[i], alone.scores.data[0])
    assert together.tokens.data[0].tolist() != together.tokens.data[1].tolist()


def test_one_beam_is_greedy_and_more_beams_do_not_score_less():
    model, prompt = Table(6, 4), [[1], [2], [3]]
    one = beam_search(model, prompt, 7, 1)
    assert one.tokens.data[:, 0].tolist() == greedy(model, prompt, 7).tolist()
    assert one.tokens.shape == (3, 1, 8) and one.scores.shape == (3, 1)
    best = one.scores.data
    full = beam_search(model, prompt, 7, 6 ** 3).scores.data
    assert (full >= best - 1e-12).all() and (full > best).any()


def test_length_penalty_prefers_longer_sequences():
    def model(tokens):            # ends at once with p = 0.6; otherwise goes on, and ends surely
        last = tokens.numpy()[:, -1]
        p = np.where((last == 1)[:, None], [0.6, 0.0, 0.4], [1.0, 0.0, 0.0])
        with np.errstate(divide="ignore"):
            return tg.Tensor(np.log(p))
    for alpha, expected in ((0.0, [1, 0, 0]), (2.0, [1, 2, 0])):
        found = beam_search(model, [[1]], 2, 3, eos=0, length_penalty=alpha, penalty="plain")
        assert found.tokens.tolist()[0][0] == expected
    assert math.isclose(found.scores.item(), math.log(0.4) / 4)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "text"), [
    (lambda m: sample(m, [[1]], 2, temperature=-1.0), "temperature must be positive, got -1.0"),
    (lambda m: sample(m, [[1]], 2, top_k=0), "top_k must be at least 1, got 0"),
    (lambda m: sample(m, [[1]], 2, top_p=1.5), r"top_p must be in \[0, 1\], got 1.5"),
    (lambda m: sample(m, [[1]], 2, repetition_penalty=0.0), "penalty must be positive, got 0.0"),
    (lambda m: sample(m, [[]], 2), "each with at least one token"),
    (lambda m: sample(m, [[0.5]], 2), r"prompt must be \(N, L\) integers"),
    (lambda m: sample(m, [[1]], -2), "max_new_tokens must not be negative, got -2"),
    (lambda m: sample(lambda t: tg.ones((5,)), [[1]], 2), r"logits \(N, L, V\) or \(N, V\)"),
    (lambda m: beam_search(m, [[1], [1, 2]], 2, 2), r"prompts must have one length, got \[1, 2"),
    (lambda m: beam_search(m, [[1]], 2, 2, num_return=3), "1 <= num_return <= num_beams is needed"),
    (lambda m: beam_search(m, [[1]], 2, 2, penalty="none"), "must be 'gnmt' or 'plain'"),
])
def test_bad_arguments(call, text):
    with pytest.raises(ValueError, match=text):
        call(Table(4))


def test_a_used_cache_is_refused():
    model, cache = Small(), nn.DecodingCache(2)
    greedy(model, [[1]], 2, cache=cache)
    with pytest.raises(ValueError, match=r"the cache holds 2 tokens already; give an empty one"):
        greedy(model, [[1]], 2, cache=cache)
