"""BLEU: how many words and phrases of translations stand in those of people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["BLEU", "bleu"]


class BLEU(NamedTuple):
    """A score from 0 to 100, and how it was measured: state both."""

    score: float
    signature: str


def bleu(translations: Sequence[str], references: Sequence[str | Sequence[str]],
         tokenize: str = "13a") -> BLEU:
    """BLEU of a set of translations by the library sacrebleu.

    The geometric mean of the precisions of 1 to 4 words in a row, times exp(1 - r / c) where the
    translations (c words) are shorter than the references (r).

    Args:
        references: one of each translation, or a list of several (their number may vary).
        tokenize: sacrebleu's: "13a" for languages with spaces, "zh" for Chinese, "char", ...

    Raises:
        ModuleNotFoundError: sacrebleu is not installed.

    Sources: K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation",
    ACL 2002; M. Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018 (sacrebleu).
    """
    try:
        from sacrebleu.metrics import BLEU as Library
    except ModuleNotFoundError:
        raise ModuleNotFoundError("[bleu] needs sacrebleu: pip install 'tinygen[examples]' (or "
                                  "sacrebleu itself)") from None
    if not translations or len(translations) != len(references):
        raise ValueError(f"[bleu] {len(translations)} translations and {len(references)} "
                         "references; at least one, and references for each, are expected")
    lists = [[r] if isinstance(r, str) else list(r) for r in references]
    if not all(lists):
        raise ValueError("[bleu] each translation needs at least one reference")
    # sacrebleu wants streams: the first reference of each, the second of each or None, ...
    streams: Any = [[r[i] if i < len(r) else None for r in lists]
                    for i in range(max(map(len, lists)))]
    metric = Library(tokenize=tokenize)
    return BLEU(metric.corpus_score(list(translations), streams).score,
                str(metric.get_signature()))
