"""BLEU against its definition, and what a user without sacrebleu is told."""

import math
import sys

import pytest

from tinygen.metrics import bleu


def test_bleu_is_the_geometric_mean_of_precisions_times_the_brevity_penalty():
    pytest.importorskip("sacrebleu")
    # 6 of 7 words, 4 of 6 pairs, 2 of 5 triples, 1 of 4 fours; 7 words against 8
    found = bleu(["the cat sat on a mat ."], ["the cat sat on the red mat ."])
    expected = (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25 * math.exp(1 - 8 / 7) * 100
    assert found.score == pytest.approx(expected)
    assert "tok:13a" in found.signature and "version:" in found.signature
    # over a set, counts are added up before they are divided
    both = bleu(["the cat sat on a mat .", "a b c d"], ["the cat sat on the red mat .", "a b c d"])
    parts = 10 / 11 * 7 / 9 * 4 / 7 * 2 / 5
    assert both.score == pytest.approx(parts ** 0.25 * math.exp(1 - 12 / 11) * 100)


def test_any_of_several_references_counts_and_their_number_may_vary():
    pytest.importorskip("sacrebleu")
    found = bleu(["a b c d e", "f g h i"], [["x", "a b c d e"], ["f g h i"]])
    assert found.score == pytest.approx(100) and "nrefs:var" in found.signature
    assert bleu(["我喜欢你。"], ["我喜欢猫。"], "zh").score > 0             # characters are words
    assert bleu(["我 喜欢 你。"], ["我喜欢你。"], "zh").score == pytest.approx(100)


def test_errors_and_a_missing_library(monkeypatch):
    with pytest.raises(ValueError, match=r"\[bleu\] 1 translations and 2 references"):
        bleu(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="needs at least one reference"):
        bleu(["a"], [[]])
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinygen\[examples\]'"):
        bleu(["a"], ["a"])
