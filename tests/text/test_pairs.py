"""Tokenizers for two languages at once."""

import pytest

from tinygen.text import BPETokenizer, WordTokenizer, load_tokenizer, pair_tokenizers


def test_languages_of_one_script_share_byte_pairs_and_keep_every_letter():
    pytest.importorskip("tokenizers")
    english, german = pair_tokenizers(["A man sees a dog."] * 9, ["Ein Mann sieht Bäume."] * 9,
                                      vocab_size=280)
    assert english is german and isinstance(english, BPETokenizer) and len(english) <= 280
    assert german.decode(german.encode("Unbekannte Würmer!")) == "Unbekannte Würmer!"


def test_characters_where_no_spaces_are_written_and_words_on_the_other_side(tmp_path):
    texts = (["The cat sees Tom.", "the cat ran.", "Tom ran."],
             ["猫看见了汤姆。", "猫跑了。", "汤姆跑了。"])
    for first, second in ((0, 1), (1, 0)):
        both = pair_tokenizers(texts[first], texts[second])
        english, chinese = both[first], both[second]
        assert all(isinstance(t, WordTokenizer) for t in both)
        assert english.decode(english.encode("The CAT ran.")) == "the cat ran."
        assert chinese.decode(chinese.encode("猫跑了。")) == "猫跑了。"
        assert chinese.unk_id in chinese.encode("看")                     # seen only once
    english.save(tmp_path / "source.json")
    assert load_tokenizer(tmp_path / "source.json").encode("The cat") == english.encode("the cat")
