"""What tokenizers share, and the one that takes characters."""

from __future__ import annotations

import operator
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ..serialization import DamagedFileError
from .files import check, read_json, write_json
from .vocabulary import SPECIALS, Vocabulary

__all__ = ["CharTokenizer", "Tokenizer"]

T = TypeVar("T", bound="Tokenizer")

FORMS = (None, "NFC", "NFD", "NFKC", "NFKD")


class Tokenizer:
    """Text to numbers and back.

    Special tokens are numbers with a meaning, not text: a text that contains "<eos>" is encoded
    as these five characters, and `decode` leaves special tokens out unless told otherwise. Their
    numbers are `pad_id`, `unk_id`, `bos_id`, `eos_id` and `mask_id` (None where there is none),
    0 to 4 by default, before all other tokens.

    Args:
        specials: names of special tokens by role; None for a role leaves it out, and roles of
            one's own may be added: ``{"mask": None, "cls": "<cls>"}``.
    """

    kind: ClassVar[str] = ""

    def __init__(self, specials: Mapping[str, str | None] | None = None):
        chosen: dict[str, str | None] = {**SPECIALS, **(specials or {})}
        self.specials = {role: name for role, name in chosen.items() if name is not None}
        if not all(isinstance(name, str) and name for name in self.specials.values()):
            raise ValueError(f"[{type(self).__name__}] special tokens must be strings that are not "
                             f"empty, got {self.specials}")
        if len(set(self.specials.values())) < len(self.specials):
            raise ValueError(f"[{type(self).__name__}] special tokens must differ, got "
                             f"{self.specials}")
        self._vocabulary: Vocabulary | None = None
        self._special_ids: frozenset[int] = frozenset()

    # -- what kinds of tokenizers define -----------------------------------------------------------

    def _learn(self, texts: Iterator[str]) -> Vocabulary:
        raise NotImplementedError(f"{type(self).__name__} has to define _learn(texts)")

    def _ids(self, text: str) -> list[int]:
        raise NotImplementedError(f"{type(self).__name__} has to define _ids(text)")

    def _text(self, ids: list[int]) -> str:
        raise NotImplementedError(f"{type(self).__name__} has to define _text(ids)")

    # -- learning ----------------------------------------------------------------------------------

    def fit(self: T, texts: Iterable[str]) -> T:
        """Learn the vocabulary from texts; the same texts give the same numbers. Returns self."""
        self._adopt(self._learn(_checked(texts, type(self).__name__)))
        return self

    train = fit

    def _adopt(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._special_ids = frozenset(vocabulary[t] for t in vocabulary.specials.values())

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and their numbers.

        Raises:
            RuntimeError: nothing has been learnt yet.
        """
        if self._vocabulary is None:
            raise RuntimeError(f"[{type(self).__name__}] has no vocabulary yet: call fit(texts), "
                               "or load a saved one")
        return self._vocabulary

    def __len__(self) -> int:
        """How many tokens there are, special ones included: the size of an embedding."""
        return len(self.vocabulary)

    # -- encoding and decoding ---------------------------------------------------------------------

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """The numbers of the tokens of a text, after `bos_id` and before `eos_id` where asked for.

        Raises:
            KeyError: a token is unknown, and there is no special token ``unk``.
        """
        if not isinstance(text, str):
            raise TypeError(f"[{type(self).__name__}] text must be a str, got "
                            f"{type(text).__name__}")
        return self._framed(self._ids(text), bos, eos)

    def encode_batch(self, texts: Iterable[str], bos: bool = False,
                     eos: bool = False) -> list[list[int]]:
        """`encode` for each text."""
        return [self.encode(t, bos, eos) for t in _checked(texts, type(self).__name__)]

    def decode(self, ids: Any, skip_special: bool = True) -> str:
        """The text of tokens given by number (a list, an array or a tensor of one axis).

        Raises:
            IndexError: a number is outside of the vocabulary.
        """
        shape = getattr(ids, "shape", None)
        if shape is not None and len(shape) != 1:
            raise ValueError(f"[{type(self).__name__}] decode takes one sequence, got shape "
                             f"{tuple(shape)}; decode_batch takes several")
        numbers = [operator.index(i) for i in (ids.tolist() if shape is not None else ids)]
        n, special = len(self), self._special_ids
        for i in numbers:
            if not 0 <= i < n:
                raise IndexError(f"[{type(self).__name__}] {i} is the number of no token: there "
                                 f"are {n}, counted from 0")
        return self._text([i for i in numbers if i not in special] if skip_special else numbers)

    def decode_batch(self, batch: Iterable[Any], skip_special: bool = True) -> list[str]:
        """`decode` for each sequence."""
        return [self.decode(ids, skip_special) for ids in batch]

    def _framed(self, ids: list[int], bos: bool, eos: bool) -> list[int]:
        head = [self._special("bos")] if bos else []
        return [*head, *ids, *([self._special("eos")] if eos else [])]

    def _special(self, role: str) -> int:
        found = self.vocabulary.special_id(role)
        if found is None:
            raise ValueError(f"[{type(self).__name__}] has no special token {role!r}")
        return found

    # -- special tokens ----------------------------------------------------------------------------

    @property
    def pad_id(self) -> int | None:
        """The number that fills sequences up."""
        return self.vocabulary.special_id("pad")

    @property
    def unk_id(self) -> int | None:
        """The number of what is not in the vocabulary."""
        return self.vocabulary.special_id("unk")

    @property
    def bos_id(self) -> int | None:
        """The number that begins a sequence."""
        return self.vocabulary.special_id("bos")

    @property
    def eos_id(self) -> int | None:
        """The number that ends a sequence."""
        return self.vocabulary.special_id("eos")

    @property
    def mask_id(self) -> int | None:
        """The number that hides a token."""
        return self.vocabulary.special_id("mask")

    # -- files -------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        """The constructor's arguments, but for `specials`."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, with a checksum; the file is either old or whole."""
        write_json(path, self.kind, {"options": self._options(),
                                     "vocabulary": self.vocabulary.to_dict()})

    @classmethod
    def load(cls: type[T], path: str | os.PathLike[str]) -> T:
        """Read what `save` wrote: the same tokens with the same numbers.

        Raises:
            DamagedFileError: the file is damaged, or holds something else.
        """
        content = check(path, read_json(path), cls.kind)
        try:
            vocabulary = Vocabulary.from_dict(content["vocabulary"], path)
            absent = dict.fromkeys(SPECIALS)
            tokenizer = cls(specials={**absent, **vocabulary.specials}, **content["options"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{path} holds no {cls.kind}: {error}") from None
        tokenizer._adopt(vocabulary)
        return tokenizer

    def __repr__(self) -> str:
        options = [f"{k}={v!r}" for k, v in self._options().items()]
        size = "nothing learnt" if self._vocabulary is None else f"{len(self)} tokens"
        return f"{type(self).__name__}({', '.join([size, *options])})"


class CharTokenizer(Tokenizer):
    """Each character (Unicode code point) is a token.

    `decode(encode(text)) == text` for every text whose characters are all in the vocabulary (and,
    with a normalization, for every normalized text); other characters become `unk_id`.

    Args:
        min_freq: characters seen less often are left out.
        max_size: at most this many tokens, special ones included.
        lowercase: texts are lower-cased first.
        normalization: NFC, NFD, NFKC or NFKD, applied to texts first; None leaves them alone.

    >>> tokenizer = CharTokenizer().fit(["hello"])
    >>> tokenizer.encode("hole", eos=True)
    [6, 8, 5, 7, 3]
    """

    kind = "character tokenizer"

    def __init__(self, min_freq: int = 1, max_size: int | None = None, lowercase: bool = False,
                 normalization: str | None = None,
                 specials: Mapping[str, str | None] | None = None):
        super().__init__(specials)
        if normalization not in FORMS:
            raise ValueError(f"[{type(self).__name__}] normalization must be None, NFC, NFD, NFKC "
                             f"or NFKD, got {normalization!r}")
        self.min_freq, self.max_size = min_freq, max_size
        self.lowercase, self.normalization = bool(lowercase), normalization
        Vocabulary.build((), min_freq, max_size, self.specials)     # checks the sizes
        for name in self.specials.values():
            if list(self.split(name)) == [name]:
                raise ValueError(f"[{type(self).__name__}] the special token {name!r} could be a "
                                 "token of a text; use letters and brackets, as in '<pad>'")

    def split(self, text: str) -> Sequence[str]:
        """The tokens of a text, known or not."""
        if self.lowercase:
            text = text.lower()
        if self.normalization is not None:
            text = unicodedata.normalize(self.normalization, text)  # type: ignore[arg-type]
        return self._pieces(text)

    def _pieces(self, text: str) -> Sequence[str]:
        return text

    def _learn(self, texts: Iterator[str]) -> Vocabulary:
        return Vocabulary.build((token for text in texts for token in self.split(text)),
                                self.min_freq, self.max_size, self.specials)

    def _ids(self, text: str) -> list[int]:
        return self.vocabulary.ids(self.split(text))

    def _text(self, ids: list[int]) -> str:
        return "".join(self.vocabulary.tokens(ids))

    def _options(self) -> dict[str, Any]:
        return {"min_freq": self.min_freq, "max_size": self.max_size, "lowercase": self.lowercase,
                "normalization": self.normalization}


def _checked(texts: Iterable[str], name: str) -> Iterator[str]:
    """The texts one by one; a single string in their place is a mistake."""
    if isinstance(texts, str):
        raise TypeError(f"[{name}] an iterable of texts is needed, got one str")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"[{name}] texts must be str, got {type(text).__name__}")
        yield text
