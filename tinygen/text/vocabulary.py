"""A vocabulary: tokens and their numbers."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..serialization import DamagedFileError
from .files import check, read_json, write_json

__all__ = ["SPECIALS", "Vocabulary"]

# What each special token is for -> what it is called unless told otherwise.
SPECIALS = {"pad": "<pad>", "unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "mask": "<mask>"}


class Vocabulary:
    """Tokens in a fixed order: the number of a token is its position.

    Args:
        tokens: strings, each one once. The special tokens among them may stand anywhere.
        specials: what the special tokens are for, for example ``{"pad": "<pad>"}``; those that
            are not among the tokens are put in front of them, in this order. A token that is
            not in the vocabulary has the number of ``specials["unk"]`` where that is given.
        counts: how often each token was seen (token -> number), kept for the user.

    Raises:
        ValueError: a token stands there twice, or is no string.

    >>> v = Vocabulary(["the", "cat"], specials={"unk": "<unk>"})
    >>> v["cat"], v["dog"], v.token(1), len(v)
    (2, 0, 'the', 3)
    """

    kind = "vocabulary"

    def __init__(self, tokens: Iterable[str] = (), specials: Mapping[str, str] | None = None,
                 counts: Mapping[str, int] | None = None):
        listed = list(tokens)
        self.specials = dict(specials or {})
        present = set(listed)
        front = [t for t in self.specials.values() if t not in present]
        self._tokens = [*dict.fromkeys(front), *listed]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        for token in self._tokens:
            if not isinstance(token, str):
                raise ValueError(f"[Vocabulary] tokens must be strings, got {token!r}")
        if len(self._ids) < len(self._tokens):
            twice = next(t for t, n in Counter(self._tokens).items() if n > 1)
            raise ValueError(f"[Vocabulary] the token {twice!r} stands there twice")
        if len(set(self.specials.values())) < len(self.specials):
            raise ValueError(f"[Vocabulary] special tokens must differ, got {self.specials}")
        self.counts = {t: int(n) for t, n in (counts or {}).items() if t in self._ids}

    @classmethod
    def build(cls, tokens: Iterable[str] | Mapping[str, int], min_freq: int = 1,
              max_size: int | None = None,
              specials: Mapping[str, str] | None = None) -> Vocabulary:
        """A vocabulary of the tokens that were seen, the most frequent ones first.

        Args:
            tokens: the tokens of a corpus one after another, or their counts. Equal counts keep
                the order in which the tokens first appeared.
            min_freq: tokens seen less often are left out.
            max_size: at most this many tokens, special ones included.

        >>> list(Vocabulary.build("b a b c a b".split(), max_size=2))
        ['b', 'a']
        """
        least = _at_least(min_freq, 1, "min_freq")
        counts = Counter(tokens)
        names = dict(specials or {})
        ordered = sorted((t for t, n in counts.items() if n >= least and t not in names.values()),
                         key=lambda t: -counts[t])
        if max_size is not None:
            room = _at_least(max_size, len(names), "max_size") - len(names)
            ordered = ordered[:room]
        return cls(ordered, names, counts)

    # -- looking up ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __getitem__(self, token: str) -> int:
        """The number of a token; an unknown one has the number of ``unk``.

        Raises:
            KeyError: the token is unknown, and there is no ``unk``.
        """
        found = self._ids.get(token)
        if found is None:
            found = self.unk_id
            if found is None:
                raise KeyError(f"[Vocabulary] {token!r} is none of the {len(self)} tokens, and "
                               "there is no special token 'unk'")
        return found

    def token(self, number: int) -> str:
        """The token with a number.

        Raises:
            IndexError: there is none with this number.
        """
        index = operator.index(number)
        if not 0 <= index < len(self._tokens):
            raise IndexError(f"[Vocabulary] {index} is the number of no token: there are "
                             f"{len(self)}, counted from 0")
        return self._tokens[index]

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens."""
        get, unk = self._ids.get, self.unk_id
        if unk is None:
            return [self[t] for t in tokens]
        return [get(t, unk) for t in tokens]

    def tokens(self, numbers: Iterable[Any]) -> list[str]:
        """The tokens with these numbers."""
        return [self.token(n) for n in numbers]

    def special_id(self, role: str) -> int | None:
        """The number of the special token for a role (pad, unk, ...), or None."""
        token = self.specials.get(role)
        return None if token is None else self._ids[token]

    @property
    def unk_id(self) -> int | None:
        """The number that unknown tokens have, or None."""
        return self.special_id("unk")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._tokens == other._tokens and self.specials == other.specials

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self._tokens[:6]))
        return f"Vocabulary({len(self)} tokens: {first}{', ...' if len(self) > 6 else ''})"

    # -- files -----------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What a file holds: tokens, special tokens, and counts."""
        return {"tokens": list(self._tokens), "specials": dict(self.specials),
                "counts": [self.counts.get(t, 0) for t in self._tokens]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: Any = "the dictionary") -> Vocabulary:
        """The reverse of `to_dict`; `where` names the source in errors."""
        tokens: Any = content.get("tokens")
        specials, counts = content.get("specials", {}), content.get("counts", [])
        strings = _strings(tokens) and isinstance(specials, dict) and _strings(
            list(specials.values()))
        if not strings or not isinstance(counts, list):
            raise DamagedFileError(f"{where} holds no vocabulary: 'tokens' must be a list of "
                                   "strings, 'specials' an object of strings, 'counts' a list")
        try:
            return cls(tokens, specials, {t: n for t, n in zip(tokens, counts) if n})
        except ValueError as error:
            raise DamagedFileError(f"{where}: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON, with a checksum; the file is either old or whole."""
        write_json(path, self.kind, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            DamagedFileError: the file is damaged, or holds something else.
        """
        return cls.from_dict(check(path, read_json(path), cls.kind), path)


def _strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def _at_least(value: Any, least: int, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"[Vocabulary] {name} must be an integer of at least {least}, got "
                         f"{value!r}")
    return operator.index(value)
