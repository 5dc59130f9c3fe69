"""Byte-pair encoding, by the library `tokenizers`."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..serialization import DamagedFileError, write_atomically
from .files import digest, encoded, read_json
from .tokenizers import Tokenizer, _checked
from .vocabulary import SPECIALS, Vocabulary

__all__ = ["BPETokenizer"]

_OURS = "tinygen"    # where a file keeps the roles of its special tokens, and its checksum


class BPETokenizer(Tokenizer):
    """Byte-pair encoding on the bytes of UTF-8: frequent strings become one token.

    Every byte is a token, so that `decode(encode(text)) == text` for every text, seen or not, and
    no token is ever unknown. The same texts give the same tokens. A token may be a part of a
    character: decoding a part of a sequence gives U+FFFD where a character is cut.

    A saved file is the JSON of the library `tokenizers`, which `tokenizers.Tokenizer.from_file`
    reads too; `load` also takes such files from elsewhere if they are of the same kind.

    Args:
        vocab_size: how many tokens to learn, special ones and the 256 bytes included; fewer where
            the texts do not give that many.
        min_freq: pairs seen less often are not joined.

    Raises:
        ModuleNotFoundError: `tokenizers` is not installed.

    Sources: P. Gage, "A New Algorithm for Data Compression", 1994; R. Sennrich, B. Haddow and
    A. Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016; A. Radford
    et al., "Language Models are Unsupervised Multitask Learners", 2019 (on bytes).
    """

    kind = "BPE tokenizer"

    def __init__(self, vocab_size: int = 8000, min_freq: int = 2,
                 specials: Mapping[str, str | None] | None = None):
        super().__init__(specials)
        least = 256 + len(self.specials)      # each byte is a token
        for name, value, low in (("vocab_size", vocab_size, least), ("min_freq", min_freq, 1)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < low:
                raise ValueError(f"[BPETokenizer] {name} must be an integer of at least {low}, got "
                                 f"{value!r}")
        self.vocab_size, self.min_freq = vocab_size, min_freq
        self._backend: Any = None
        split = _library().pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
        for name in self.specials.values():
            if len(split(name)) < 2:      # then a token of texts could be the same string
                raise ValueError(f"[BPETokenizer] the special token {name!r} could be a token of a "
                                 "text; use letters and brackets, as in '<pad>'")

    # -- learning ----------------------------------------------------------------------------------

    def _learn(self, texts: Iterator[str]) -> Vocabulary:
        library = _library()
        backend = library.Tokenizer(library.models.BPE())
        backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=self.vocab_size, min_frequency=self.min_freq, show_progress=False,
            special_tokens=list(self.specials.values()),
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()))
        backend.train_from_iterator((_utf8(text) for text in texts), trainer)
        return self._take(backend, self.specials)

    def _take(self, backend: Any, specials: Mapping[str, str]) -> Vocabulary:
        """Use this tokenizer of the library; special tokens in a text are text."""
        backend.encode_special_tokens = True
        self._backend = backend
        pairs = sorted(backend.get_vocab(with_added_tokens=True).items(), key=lambda kv: kv[1])
        return Vocabulary((token for token, _ in pairs), specials)

    def _ready(self) -> Any:
        """The library's tokenizer; raises where nothing has been learnt."""
        assert self.vocabulary is not None
        return self._backend

    # -- encoding and decoding ---------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        return self._ready().encode(_utf8(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Iterable[str], bos: bool = False,
                     eos: bool = False) -> list[list[int]]:
        """`encode` for each text, several at a time."""
        backend = self._ready()
        batch = [_utf8(t) for t in _checked(texts, type(self).__name__)]
        return [self._framed(e.ids, bos, eos)
                for e in backend.encode_batch_fast(batch, add_special_tokens=False)]

    def _text(self, ids: list[int]) -> str:
        """Special tokens stand between pieces of text, and are no bytes themselves."""
        parts: list[str] = []
        piece: list[int] = []
        for i in ids:
            if i in self._special_ids:
                parts += [self._backend.decode(piece, skip_special_tokens=False),
                          self.vocabulary.token(i)]
                piece = []
            else:
                piece.append(i)
        return "".join([*parts, self._backend.decode(piece, skip_special_tokens=False)])

    # -- files -------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        return {"vocab_size": self.vocab_size, "min_freq": self.min_freq}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON of `tokenizers`; the file is either old or whole."""
        value = json.loads(self._ready().to_str())
        ours = {"specials": self.specials, "options": self._options()}
        # the library passes over fields that it does not know here
        value["decoder"][_OURS] = {**ours, "sha256": digest([value, ours])}
        write_atomically(path, encoded(value))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Read what `save` wrote, or a byte-level BPE that `tokenizers` wrote.

        In a file from elsewhere, a special token has a role if it has the usual name for it (<pad>,
        <unk>, <bos>, <eos>, <mask>); of others, the name is the role.

        Raises:
            DamagedFileError: the file is damaged, or holds something else.
            ModuleNotFoundError: `tokenizers` is not installed.
        """
        library, value = _library(), read_json(path)
        model, decoder = value.get("model"), value.get("decoder")
        if not (isinstance(model, dict) and isinstance(decoder, dict)
                and model.get("type") == "BPE" and decoder.get("type") == "ByteLevel"):
            raise DamagedFileError(f"{path} holds no byte-level BPE of the library tokenizers")
        ours = decoder.pop(_OURS, None)
        if ours is not None:
            found = digest([value, {k: v for k, v in ours.items() if k != "sha256"}])
            if found != ours.get("sha256"):
                raise DamagedFileError(f"{path} is damaged: its content does not match the SHA-256 "
                                       "written with it")
        try:
            backend = library.Tokenizer.from_str(json.dumps(value))
        except Exception as error:      # the library raises plain Exception
            raise DamagedFileError(f"{path} is damaged, or no file of the library tokenizers: "
                                   f"{error}") from None
        known = backend.get_vocab(with_added_tokens=True)
        if sorted(known.values()) != list(range(len(known))):
            raise DamagedFileError(f"{path} has tokens whose numbers are not 0 to {len(known) - 1}")
        if ours is not None:
            specials, options = ours["specials"], ours["options"]
        else:
            named = [t["content"] for t in value["added_tokens"] if t.get("special")]
            roles = {name: role for role, name in SPECIALS.items()}
            specials = {roles.get(name, name): name for name in named}
            options = {"vocab_size": max(256, len(known))}
        tokenizer = cls(specials=dict.fromkeys(SPECIALS), **options)
        tokenizer.specials = specials
        tokenizer._adopt(tokenizer._take(backend, specials))
        return tokenizer


def _utf8(text: Any) -> str:
    """The text, if UTF-8 has bytes for it."""
    if not isinstance(text, str):
        raise TypeError(f"[BPETokenizer] texts must be str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"[BPETokenizer] the text holds half of a surrogate pair, "
                         f"{text[error.start]!r} at {error.start}, for which UTF-8 has no "
                         "bytes") from None
    return text


def _library() -> Any:
    try:
        library = importlib.import_module("tokenizers")
        for part in ("models", "pre_tokenizers", "decoders", "trainers"):
            importlib.import_module(f"tokenizers.{part}")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("BPETokenizer needs the library tokenizers: "
                                  "pip install 'tinygen[text]'") from None
    return library
