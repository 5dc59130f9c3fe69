"""Character, word and BPE tokenizers: one interface, round trips, files."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.serialization import DamagedFileError
from tinygen.text import (
    BPETokenizer,
    CharTokenizer,
    WordTokenizer,
    load_tokenizer,
    split_words,
)

TEXTS = ["the cat sat on the mat", "我爱猫，猫爱我。", "3.14 is not 12,000; <pad> don't!"]
ANY = st.text(max_size=40)
CODES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# text in which the rules about words, numbers, marks and spaces meet
MIXED = st.lists(st.sampled_from(
    ["a", "Bc", "don't", "'", "3", "14", ".", ",", "12,000", "3.5", "我", "爱", "々", "カ",
     "゙", "，", "（", "(", ")", "[", "!", "%", "-", "_", "é", "́", " ", "\n", "\u3000", "İ", "Σ",
     "½", "😀", "👍🏽", "\u200d", "नि", "\U00020000", "’", "…", "ß"]), max_size=12).map("".join)


def made(kind, **options):
    if kind is BPETokenizer:
        pytest.importorskip("tokenizers")
        options = {"vocab_size": 300, **options}
    return kind(**options).fit(TEXTS)


kinds = pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer, BPETokenizer])

# -- the common interface --------------------------------------------------------------------------


@kinds
def test_special_tokens_are_numbers_and_not_text(kind):
    tokenizer = made(kind, specials={"mask": None, "cls": "<cls>"})
    assert [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id] == [0, 1, 2, 3]
    assert tokenizer.mask_id is None and tokenizer.vocabulary.special_id("cls") == 4
    ids = tokenizer.encode("<pad>")
    assert not set(ids) & set(range(5)) and tokenizer.decode(ids).replace(" ", "") == "<pad>"
    framed = tokenizer.encode("the cat", bos=True, eos=True)
    assert framed[0] == 2 and framed[-1] == 3
    assert tokenizer.decode(framed) == "the cat"
    assert tokenizer.decode(framed, skip_special=False).replace(" ", "") == "<bos>thecat<eos>"


@kinds
def test_batches_are_the_texts_one_by_one(kind):
    tokenizer = made(kind)
    assert tokenizer.encode_batch(TEXTS, eos=True) == [tokenizer.encode(t, eos=True) for t in TEXTS]
    batch = tokenizer.encode_batch(iter(TEXTS))
    assert tokenizer.decode_batch(batch) == [tokenizer.decode(ids) for ids in batch]
    ids = batch[0]
    for form in (np.array(ids), tg.Tensor(ids), tuple(ids)):
        assert tokenizer.decode(form) == tokenizer.decode(ids)
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


@kinds
def test_the_vocabulary_counts_what_encode_gives(kind):
    tokenizer = made(kind)
    assert len(tokenizer) == len(tokenizer.vocabulary)
    assert max(max(ids) for ids in tokenizer.encode_batch(TEXTS)) < len(tokenizer)
    for i, token in enumerate(tokenizer.vocabulary):
        assert tokenizer.vocabulary[token] == i and tokenizer.vocabulary.token(i) == token


@kinds
def test_files_keep_every_number(kind, tmp_path):
    tokenizer = made(kind, specials={"pad": "[PAD]", "eos": None, "sep": "[SEP]"})
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    for again in (kind.load(path), load_tokenizer(path)):
        assert type(again) is kind and again.vocabulary == tokenizer.vocabulary
        assert again.specials == tokenizer.specials and again._options() == tokenizer._options()
        assert again.eos_id is None and again.pad_id == tokenizer.pad_id
        text = "[PAD] the mat 我"
        assert again.encode(text, bos=True) == tokenizer.encode(text, bos=True)
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "tokenizer.json"]


@kinds
def test_damaged_and_foreign_files_are_refused(kind, tmp_path):
    path = tmp_path / "t.json"
    made(kind).save(path)
    whole = path.read_bytes()
    other = WordTokenizer if kind is CharTokenizer else CharTokenizer
    with pytest.raises(DamagedFileError, match=r"not a .* tokenizer|no .* tokenizer of tinygen"):
        other.load(path)
    for data, message in [
            (whole[:len(whole) // 2], "damaged"), (b"", "no JSON"), (b"\xff\xfe", "no JSON"),
            (b"[1, 2]", "JSON list"), (b"{}", "holds no tokenizer"),
            (whole.replace(b"the", b"thx", 1) if kind is not CharTokenizer
             else whole.replace(b'"t"', b'"\\u0416"', 1), "does not match the SHA-256")]:
        assert data != whole
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=message):
            load_tokenizer(path)
        with pytest.raises(DamagedFileError):
            kind.load(path)
    with pytest.raises(FileNotFoundError):
        kind.load(tmp_path / "nowhere.json")


@kinds
def test_bad_arguments_are_named(kind):
    tokenizer = made(kind)
    name = rf"\[{kind.__name__}\]"
    for call, error, message in [
            (lambda: tokenizer.encode(5), TypeError, rf"{name} text must be a str, got int"),
            (lambda: tokenizer.encode_batch("abc"), TypeError, "an iterable of texts"),
            (lambda: tokenizer.fit([b"abc"]), TypeError, "must be str, got bytes"),
            (lambda: tokenizer.decode([10 ** 6]), IndexError, f"{name} 1000000 is the number of"),
            (lambda: tokenizer.decode([-1]), IndexError, "-1 is the number of no token"),
            (lambda: tokenizer.decode(np.zeros((2, 2), int)), ValueError, "decode_batch"),
            (lambda: kind(specials={"pad": "<eos>"}), ValueError, "special tokens must differ"),
            (lambda: kind(specials={"pad": ""}), ValueError, "strings that are not empty"),
            (lambda: kind(specials={"pad": "a"}), ValueError, "'a' could be a token of a text"),
            (lambda: kind(min_freq=0), ValueError, "min_freq must be an integer of at least 1"),
            (lambda: kind().encode("a"), RuntimeError, f"{name} has no vocabulary yet"),
            (lambda: made(kind, specials={"bos": None}).encode("a", bos=True), ValueError,
             "no special token 'bos'")]:
        with pytest.raises(error, match=message):
            call()


# -- characters ------------------------------------------------------------------------------------


@given(ANY)
def test_characters_round_trip(text):
    tokenizer = CharTokenizer().fit([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def test_character_options():
    tokenizer = CharTokenizer(lowercase=True, normalization="NFKC", min_freq=2).fit(["AaＡ", "b"])
    assert list(tokenizer.vocabulary)[5:] == ["a"] and tokenizer.encode("ａb") == [5, 1]
    assert list(CharTokenizer(max_size=7).fit(["abbccc"]).vocabulary)[5:] == ["c", "b"]
    strict = CharTokenizer(specials={"unk": None}).fit(["ab"])
    with pytest.raises(KeyError, match="'c' is none of the 6 tokens"):
        strict.encode("abc")
    with pytest.raises(ValueError, match="normalization must be"):
        CharTokenizer(normalization="NFX")
    with pytest.raises(ValueError, match="max_size must be an integer of at least 5"):
        CharTokenizer(max_size=3)


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, words", [
    ("Hello, world!", ["Hello", ",", "world", "!"]),
    ("I don't know; you’re late", ["I", "don't", "know", ";", "you’re", "late"]),
    ("'quoted'", ["'", "quoted", "'"]),
    ("3.14 12,000 1,2,3 1.2.3 5. x2 2x", ["3.14", "12,000", "1", ",", "2", ",", "3", "1.2.3", "5",
                                          ".", "x2", "2x"]),
    ("我有3.5元，OK？", ["我", "有", "3.5", "元", "，", "OK", "？"]),
    ("深度(deep learning)很好", ["深", "度", "(", "deep", "learning", ")", "很", "好"]),
    ("𠀀々〇", ["𠀀", "々", "〇"]),
    ("カタカナとひらがな", list("カタカナとひらがな")),
    ("Привет, мир", ["Привет", ",", "мир"]),
    ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
    ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
    ("e-mail a_b 50%", ["e", "-", "mail", "a_b", "50", "%"]),
    ("한국어 단어", ["한국어", "단어"]),
    (" \t\n\u3000", []),
])
def test_words(text, words):
    assert split_words(text) == words


@given(st.one_of(MIXED, ANY), st.booleans(), st.sampled_from([None, "NFC", "NFKC"]))
def test_decoded_words_are_split_alike(text, lowercase, normalization):
    tokenizer = WordTokenizer(lowercase=lowercase, normalization=normalization).fit([text])
    ids = tokenizer.encode(text)
    assert tokenizer.unk_id not in ids
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@given(MIXED)
def test_words_lose_nothing_but_white_space(text):
    assert "".join(split_words(text)) == "".join(text.split())


def test_decoding_words_writes_them_as_people_do():
    text = "The cat (a tabby) sat, 我有3只猫。Really?"
    tokenizer = WordTokenizer().fit([text])
    assert tokenizer.decode(tokenizer.encode(text)) == "The cat (a tabby) sat,我有3只猫。Really?"
    assert tokenizer.encode("The dog") == [5, tokenizer.unk_id]


# -- byte pairs ------------------------------------------------------------------------------------


@given(CODES)
def test_any_text_round_trips_through_byte_pairs(text):
    pytest.importorskip("tokenizers")
    tokenizer = trained()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and tokenizer.unk_id not in ids
    framed = tokenizer.encode(text, bos=True, eos=True)
    assert tokenizer.decode(framed, skip_special=False) == f"<bos>{text}<eos>"


@functools.cache
def trained():
    return made(BPETokenizer)


def test_byte_pairs_learn_what_is_frequent_and_stop_at_the_size():
    pytest.importorskip("tokenizers")
    texts = ["low lower lowest"] * 5
    assert "low" in BPETokenizer(vocab_size=263).fit(texts).vocabulary
    assert len(BPETokenizer(vocab_size=263).fit(texts)) == 263
    assert len(BPETokenizer(vocab_size=5000).fit(texts)) < 300
    assert len(BPETokenizer(vocab_size=5000, min_freq=6).fit(["abab"] * 2)) == 261
    with pytest.raises(ValueError, match="vocab_size must be an integer of at least 261"):
        BPETokenizer(vocab_size=260)
    with pytest.raises(ValueError, match=r"half of a surrogate pair, '\\ud800' at 1"):
        trained().encode("a\ud800")


def test_training_is_the_same_in_another_process(tmp_path):
    pytest.importorskip("tokenizers")
    program = ("import sys; from tinygen.text import BPETokenizer\n"
               "texts = [f'w{i % 7} x{i % 5} ab cd 我{chr(0x4e00 + i % 9)}' for i in range(60)]\n"
               "BPETokenizer(vocab_size=330).fit(texts).save(sys.argv[1])")
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in files:
        subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_files_of_the_library_are_read_and_written(tmp_path):
    library = pytest.importorskip("tokenizers")
    path = tmp_path / "t.json"
    trained().save(path)
    theirs = library.Tokenizer.from_file(str(path))
    assert theirs.encode("the cat").ids == trained().encode("the cat")
    theirs.add_special_tokens(["EOT"])
    theirs.save(str(path))               # without what tinygen had added
    again = BPETokenizer.load(path)
    assert list(again.vocabulary) == [*trained().vocabulary, "EOT"] and again.eos_id == 3
    end = again.vocabulary.special_id("EOT")
    assert end == len(again) - 1 and again.decode([*again.encode("cat"), end]) == "cat"
    assert end not in again.encode("EOT")
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "decoder": {"type": "WordPiece"}}))
    with pytest.raises(DamagedFileError, match="no byte-level BPE"):
        BPETokenizer.load(path)
    path.write_text(json.dumps({**value, "model": {**value["model"], "vocab": 3}}))
    with pytest.raises(DamagedFileError, match="is damaged, or no file of the library"):
        BPETokenizer.load(path)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinygen\[text\]'"):
        BPETokenizer()


# -- real texts ------------------------------------------------------------------------------------


def test_real_texts(real_texts):
    english = (real_texts / "tinyshakespeare" / "input.txt").read_text()[:100_000]
    lines = (real_texts / "csl-title" / "ts_test.tsv").read_text("utf-8").splitlines()[:200]
    pairs = (real_texts / "tatoeba-cmn-eng" / "cmn.txt").read_text("utf-8").splitlines()[:500]
    texts = [english, *lines, *pairs]
    chars = CharTokenizer().fit(texts)
    assert all(chars.decode(chars.encode(t)) == t for t in texts)
    assert len(CharTokenizer().fit([english])) <= 65 + 5
    words = WordTokenizer().fit(texts)
    for text in texts:
        ids = words.encode(text)
        assert words.encode(words.decode(ids)) == ids and words.unk_id not in ids
    assert split_words("基于BP神经网络的2.4GHz信号识别")[:4] == ["基", "于", "BP", "神"]
    pytest.importorskip("tokenizers")
    pieces = BPETokenizer(vocab_size=2000).fit(texts)
    assert len(pieces) == 2000
    for text in texts:
        assert pieces.decode(pieces.encode(text)) == text
    assert len(pieces.encode(english)) < 0.5 * len(english)
