"""Tokenizers for two languages at once."""

from __future__ import annotations

from collections.abc import Sequence

from .bpe import BPETokenizer
from .tokenizers import Tokenizer
from .words import WordTokenizer, _patterns

__all__ = ["pair_tokenizers"]


def pair_tokenizers(sources: Sequence[str], targets: Sequence[str],
                    vocab_size: int = 4000) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers of both sides of translated sentences.

    Languages that share a script have one byte-pair encoding, the same object twice. Where a tenth
    of the characters of either side are Han or kana, each side has words of its own (`split_words`:
    such characters one by one), those that are seen at least twice; the side that is written with
    spaces is in lower case.

    Raises:
        ModuleNotFoundError: byte pairs are needed, and the library tokenizers is not installed.

    >>> english, chinese = pair_tokenizers(["I see", "I run"], ["我看", "我跑"])
    >>> english.decode(english.encode("I swim"), skip_special=False), len(chinese)
    ('i <unk>', 6)
    """
    han = _patterns()[1]

    def is_han(texts: Sequence[str]) -> bool:
        whole = "".join(texts)
        return 10 * len(han.findall(whole)) >= max(len(whole), 1)
    kinds = [is_han(sources), is_han(targets)]
    if any(kinds):
        first, second = (WordTokenizer(min_freq=2, lowercase=not kind).fit(texts)
                         for kind, texts in zip(kinds, (sources, targets), strict=True))
        return first, second
    both = BPETokenizer(vocab_size).fit([*sources, *targets])
    return both, both
