"""Words of mixed text: what is a word in scripts with spaces, and a character in those without."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

from .tokenizers import CharTokenizer

__all__ = ["WordTokenizer", "split_words"]

# Han ideographs with their iteration mark, zero and numerals, and the two Japanese kana: scripts
# without spaces, in which each character is a token.
_HAN = ("\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u309b-\u309f"
        "\u30a1-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
        "\U0001b000-\U0001b16f\U00020000-\U0003fffd")
_CLOSING = frozenset(".,!?;:%)]}\u2026")        # written without a space before them
_OPENING = frozenset("([{")                     # written without a space after them
_WIDE = frozenset("\u3000\u3001\u3002\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\u300a\u300b"
                  "\u300c\u300d\u300e\u300f\u3010\u3011\u3014\u3015\u3008\u3009")


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Patterns of a token, of a Han character or kana, and of a mark; made on first use."""
    han = re.compile(f"[{_HAN}]")
    letters, marks = [], []
    for code in (*range(0x20000), *range(0xE0100, 0xE01F0)):
        char = chr(code)
        kind = unicodedata.category(char)
        if kind[0] == "M":
            marks.append(code)
        if kind[0] in "LNM" and not han.match(char):
            letters.append(code)
    mark, letter = _class(marks), _class([*letters, ord("_")])
    number = r"\d+(?:\.\d+)+|\d{1,3}(?:,\d{3})+(?:\.\d+)?"
    token = (f"[{_HAN}]{mark}*"
             f"|(?:{number})(?![,.]?\\d|{letter})"
             f"|{letter}++(?:['\u2019]{letter}++)*"
             f"|\\S{mark}*")
    return re.compile(token), han, re.compile(mark)


def _class(codes: list[int]) -> str:
    """A pattern of one of these characters.

    Those above U+FFFF stand apart: a class without them is a table and not a search.
    """
    parts: list[list[str]] = [[], []]
    ordered = sorted(codes)
    start = ordered[0]
    for code, following in zip(ordered, [*ordered[1:], -1], strict=True):
        if following != code + 1 or following == 0x10000:
            parts[code > 0xFFFF].append(f"\\U{start:08x}-\\U{code:08x}")
            start = following
    return "(?:" + "|".join(f"[{''.join(p)}]" for p in parts if p) + ")"


def split_words(text: str) -> list[str]:
    """The words of a text in any mixture of scripts; white space separates and is dropped.

    A token is a run of letters, digits and combining marks (with apostrophes inside: "don't"), a
    number with decimals or thousands ("3.14", "12,000", "1.2.3"), one Han character or kana, or
    one other character such as a punctuation mark.

    >>> split_words("I don't know: 我有3.5元，OK?")
    ['I', "don't", 'know', ':', '我', '有', '3.5', '元', '，', 'OK', '?']
    """
    return _patterns()[0].findall(text)


class WordTokenizer(CharTokenizer):
    """Words, numbers, Han characters and punctuation marks are tokens (see `split_words`).

    Spaces are not kept. `decode` writes tokens with spaces between them, but for those around Han
    characters and kana, before closing and after opening punctuation. What it writes is split
    into the same tokens again: `encode(decode(ids)) == ids` for ids that come from a text without
    unknown words.

    Args:
        min_freq: words seen less often are left out, and become `unk_id`.
        max_size: at most this many tokens, special ones included.
        lowercase: texts are lower-cased first.
        normalization: NFC, NFD, NFKC or NFKD, applied to texts first; None leaves them alone.

    >>> tokenizer = WordTokenizer(lowercase=True).fit(["The cat (a tabby) sat.", "我爱猫"])
    >>> tokenizer.decode(tokenizer.encode("我爱the cat."))
    '我爱the cat.'
    """

    kind = "word tokenizer"

    def _pieces(self, text: str) -> list[str]:
        return split_words(text)

    def _text(self, ids: list[int]) -> str:
        tokens = self.vocabulary.tokens(ids)
        parts: list[Any] = tokens[:1]
        for before, after in zip(tokens, tokens[1:]):
            parts += [after] if _touch(before, after) else [" ", after]
        return "".join(parts)


def _touch(before: str, after: str) -> bool:
    """Whether two tokens are written without a space; they must not grow together."""
    _, han, mark = _patterns()
    if mark.match(after):
        return False
    return (after in _CLOSING or before in _OPENING or before in _WIDE or after in _WIDE
            or bool(han.match(before) or han.match(after)))
