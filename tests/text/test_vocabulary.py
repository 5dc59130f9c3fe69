"""Vocabularies: order, limits, unknown tokens, files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.serialization import DamagedFileError
from tinygen.text import SPECIALS, CharTokenizer, Vocabulary

TOKENS = st.lists(st.text(max_size=3), max_size=30)


@given(TOKENS, st.integers(1, 3), st.one_of(st.none(), st.integers(0, 10)))
def test_order_and_limits(tokens, min_freq, max_size):
    """Most frequent first, equal counts by first appearance, as a sort by hand gives them."""
    v = Vocabulary.build(tokens, min_freq, max_size)
    seen = list(dict.fromkeys(tokens))
    kept = [t for t in seen if tokens.count(t) >= min_freq]
    wanted = sorted(kept, key=lambda t: -tokens.count(t))
    assert list(v) == wanted[:max_size]
    assert v.counts == {t: tokens.count(t) for t in v}
    assert v.ids(v) == list(range(len(v))) and v.tokens(range(len(v))) == list(v)


@given(TOKENS)
def test_files_keep_every_token(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("v") / "v.json"
    v = Vocabulary.build([*tokens, "\ud800", '"', "\n"], specials=SPECIALS)
    v.save(path)
    again = Vocabulary.load(path)
    assert again == v and again.counts == v.counts and again.specials == SPECIALS
    assert [again[t] for t in v] == list(range(len(v)))


def test_special_tokens_stand_first_and_once():
    v = Vocabulary.build(["a", "<unk>", "a", "b"], specials={"pad": "<pad>", "unk": "<unk>"})
    assert list(v) == ["<pad>", "<unk>", "a", "b"] and "a" in v and "c" not in v
    assert v["c"] == v.unk_id == 1 and v.ids(["b", "c"]) == [3, 1]
    assert list(Vocabulary(["x", "<u>"], {"unk": "<u>"})) == ["x", "<u>"]
    assert Vocabulary.build({"a": 1, "b": 5}, max_size=1)["b"] == 0
    assert v != Vocabulary(["a"]) and v != 3
    assert repr(Vocabulary("abcdefgh")) == (
        "Vocabulary(8 tokens: 'a', 'b', 'c', 'd', 'e', 'f', ...)")


@pytest.mark.parametrize("call, error, message", [
    (lambda: Vocabulary(["a", "b", "a"]), ValueError, "the token 'a' stands there twice"),
    (lambda: Vocabulary(["a", 3]), ValueError, "tokens must be strings, got 3"),
    (lambda: Vocabulary([], {"pad": "x", "unk": "x"}), ValueError, "special tokens must differ"),
    (lambda: Vocabulary(["a"])["b"], KeyError, "'b' is none of the 1 tokens"),
    (lambda: Vocabulary(["a"]).ids(["b"]), KeyError, "no special token 'unk'"),
    (lambda: Vocabulary(["a"]).token(1), IndexError, "1 is the number of no token: there are 1"),
    (lambda: Vocabulary(["a"]).token(-1), IndexError, "-1 is the number of no token"),
    (lambda: Vocabulary.build("ab", min_freq=0), ValueError, "min_freq must be an integer"),
    (lambda: Vocabulary.build("ab", max_size=0, specials={"unk": "?"}), ValueError,
     "max_size must be an integer of at least 1, got 0"),
])
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "v.json"
    Vocabulary(["cat", "dog"], SPECIALS).save(path)
    whole = json.loads(path.read_text())

    def refused(value, message):
        path.write_text(json.dumps(value))
        with pytest.raises(DamagedFileError, match=message):
            Vocabulary.load(path)
    refused({**whole, "version": 2}, "has version 2; this tinygen reads version 1")
    refused({**whole, "kind": "recipe"}, "holds a recipe, not a vocabulary")
    refused({**whole, "content": {**whole["content"], "tokens": ["cow"]}}, "SHA-256")
    refused({"tokens": ["a"]}, "no field 'format'")
    CharTokenizer().fit(["a"]).save(path)
    with pytest.raises(DamagedFileError, match="holds a character tokenizer, not a vocabulary"):
        Vocabulary.load(path)
    for content in ({"tokens": "abc"}, {"tokens": [1]}, {"tokens": ["a"], "specials": [1]}, {}):
        with pytest.raises(DamagedFileError, match="holds no vocabulary"):
            Vocabulary.from_dict(content)
    with pytest.raises(DamagedFileError, match="stands there twice"):
        Vocabulary.from_dict({"tokens": ["a", "a"]})
