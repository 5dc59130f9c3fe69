"""Texts by name and from files, blocks of tokens, the film reviews."""

import numpy as np
import pytest

from tinygen.data import (
    DataError,
    DataLoader,
    MissingDataError,
    TextBlocks,
    csl_titles,
    film_texts,
    load_text,
    movie_reviews,
)


def test_a_text_by_name_from_the_data_folder(folders, known_file):
    text = "Zounds!\nNaïve.\n"
    known_file("tinyshakespeare/input.txt", text.encode())
    with pytest.raises(MissingDataError, match=r"tinyshakespeare/input\.txt was not found"):
        load_text("tinyshakespeare")
    (folders[0] / "tinyshakespeare").mkdir()
    (folders[0] / "tinyshakespeare" / "input.txt").write_bytes(text.encode())
    assert load_text("tinyshakespeare") == load_text("Tinyshakespeare") == text


def test_a_text_from_a_file_and_what_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo", encoding="utf-8")
    assert load_text(tmp_path / "a.txt") == "one\ntwo"
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"b\.txt is not UTF-8 text"):
        load_text(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"c\.txt is empty"):
        load_text(tmp_path / "c.txt")
    with pytest.raises(MissingDataError, match="did you mean 'tinyshakespeare'"):
        load_text("tiny-shakespear")


def test_blocks_cover_the_text_once_and_targets_come_next():
    blocks = TextBlocks(np.arange(23), 5)
    x, y = blocks.batch(np.arange(len(blocks)))
    assert x.ravel().tolist() == list(range(20)) and np.array_equal(y, x + 1)
    assert x.dtype == y.dtype == np.int64
    assert len(TextBlocks(np.arange(20), 5)) == 3       # the last token has no target
    assert len(TextBlocks(np.arange(21), 5)) == 4


def test_jitter_reaches_every_position_about_equally_often_and_depends_on_the_seed():
    blocks = TextBlocks(np.arange(22), 4, jitter=True)
    loader = DataLoader(blocks, 5, shuffle=True, seed=3)
    counts = np.zeros(22, int)
    epochs = []
    for _ in range(800):
        (x, y), = loader
        assert np.array_equal(y.numpy(), x.numpy() + 1)
        epochs.append(x.tolist())
        np.add.at(counts, x.numpy(), 1)
    assert counts[3:20].min() > 0.8 * 800 and counts[:21].min() > 0
    assert epochs[0] != epochs[1]
    again = [x.tolist() for x, _ in DataLoader(blocks, 5, shuffle=True, seed=3)]
    assert again == epochs[:1]


def test_too_short_a_text_and_the_wrong_numbers():
    with pytest.raises(ValueError, match="4 tokens make no block of 4"):
        TextBlocks([1, 2, 3, 4], 4)
    with pytest.raises(ValueError, match=r"float64 \(9,\); integers \(T,\)"):
        TextBlocks(np.zeros(9), 4)


def test_film_reviews_are_split_once_and_for_all(real_data):
    train, test = movie_reviews(), movie_reviews(train=False)
    assert (len(train.texts), len(test.texts)) == (9595, 1067)
    labels = np.concatenate([train.labels, test.labels])
    assert len(labels) == 10662 and labels.sum() == 5331
    assert 0.45 < test.labels.mean() < 0.55
    assert movie_reviews(train=False).texts == test.texts
    assert movie_reviews(train=False, seed=1).texts != test.texts
    both = sorted(train.texts + test.texts)
    assert both == sorted(movie_reviews(seed=1).texts + movie_reviews(train=False, seed=1).texts)
    at = next(i for i, t in enumerate(train.texts + test.texts) if t.startswith("the rock is dest"))
    assert train.classes[labels[at]] == "positive"      # the first line of rt-polarity.pos


def test_longer_film_reviews_have_no_labels_and_no_markup(real_data):
    texts = film_texts()
    assert len(texts) == 7000 and all(t == t.lower() and t.strip() for t in texts)
    assert not any("<br" in t for t in texts)
    assert 150 < np.mean([len(t.split()) for t in texts]) < 300


def test_abstracts_of_papers_have_titles(real_data):
    train, test = csl_titles(), csl_titles(train=False)
    for part in (train, test):
        assert len(part.texts) == len(part.titles) == 1000
        assert 200 < np.mean([len(t) for t in part.texts]) < 225
        assert 18 < np.mean([len(t) for t in part.titles]) < 20
    assert train.titles[3] == "果蔬保鲜技术进展探索"
    assert not set(train.texts) & set(test.texts)


def test_a_title_file_with_a_missing_column_is_named(folders, known_file):
    rows = "to title\t摘要\t标题\nto title\t摘要\n".encode()
    known_file("csl-title/ts_dev.tsv", rows)
    path = folders[0] / "csl-title" / "ts_dev.tsv"
    path.parent.mkdir(parents=True)
    path.write_bytes(rows)
    with pytest.raises(DataError, match=r"line 2 of .* has 2 columns; 3 are expected"):
        csl_titles()
