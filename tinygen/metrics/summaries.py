"""ROUGE-L: how much of a text, in its order, a summary shares with that of a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["rouge_l"]


class _Characters:
    """A tokenizer for rouge-score: each character but white space, in lower case.

    The library's own keeps a to z and 0 to 9 alone: of a Chinese text nothing is left.
    """

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        return [c for c in text.lower() if not c.isspace()]


def rouge_l(summaries: Sequence[str], references: Sequence[str],
            characters: bool = False) -> np.ndarray:
    """The F measure of ROUGE-L of each summary, (N,) in [0, 1], by the library rouge-score.

    With l the length of the longest common subsequence, P = l / tokens of the summary and
    R = l / tokens of the reference, F = 2 P R / (P + R).

    Args:
        characters: every character is a token, as is usual for Chinese; otherwise words of the
            letters a to z and digits, in lower case, are.

    Raises:
        ModuleNotFoundError: rouge-score is not installed.

    Source: C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError:
        raise ModuleNotFoundError("[rouge_l] needs rouge-score: pip install 'tinygen[examples]' "
                                  "(or rouge-score itself)") from None
    if not len(summaries) or len(summaries) != len(references):
        raise ValueError(f"[rouge_l] {len(summaries)} summaries and {len(references)} references; "
                         "one for each, and at least one, are expected")
    scorer = RougeScorer(["rougeL"], tokenizer=_Characters() if characters else None)
    return np.array([scorer.score(reference, summary)["rougeL"].fmeasure
                     for summary, reference in zip(summaries, references, strict=True)])
