"""Sentences with their translations: splits, references, batches."""

import gzip

import numpy as np
import pytest

from tinygen.data import DataError, MissingDataError, SentencePairs, multi30k, pair_loader, tatoeba


def put(folder, known_file, name, text):
    content = gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()
    known_file(name, content)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_multi30k_reads_both_languages_line_by_line(folders, known_file):
    with pytest.raises(MissingDataError, match=r"multi30k/val\.en\.gz was not found"):
        multi30k(split="val")
    put(folders[0], known_file, "multi30k/val.en.gz", "A man.\nTwo  dogs. \n")
    put(folders[0], known_file, "multi30k/val.fr.gz", "Un homme.\nDeux chiens.\n")
    assert multi30k("fr", "val") == SentencePairs(["A man.", "Two  dogs."],
                                                  ["Un homme.", "Deux chiens."])
    put(folders[0], known_file, "multi30k/val.de.gz", "Ein Mann.\n")
    with pytest.raises(DataError, match=r"val\.en\.gz has 2 lines, multi30k/val\.de\.gz 1"):
        multi30k(split="val")


def test_tatoeba_splits_by_english_sentence_whatever_its_case_and_marks(folders, known_file):
    rows = [f"Sentence {i}{mark}\t第{i}{mark}\tby {i}"
            for i in range(1600) for mark in (".", "!", "?")[:1 + i % 3]]
    put(folders[0], known_file, "tatoeba-cmn-eng/cmn.txt", "\n".join(rows) + "\n")
    parts = {split: tatoeba(split) for split in ("train", "val", "test")}
    numbers = {k: {s.strip(".!?") for s in p.source} for k, p in parts.items()}
    assert {k: len(v) for k, v in numbers.items()} == {"train": 100, "val": 500, "test": 1000}
    assert not numbers["train"] & numbers["test"] and not numbers["val"] & numbers["test"]
    assert sum(len(p.source) for p in parts.values()) == len(rows)
    for source, target, credit in zip(*parts["test"], strict=True):
        number = source.removeprefix("Sentence ").strip(".!?")
        assert target == f"第{number}{source[-1]}" and credit == f"by {number}"
    assert tatoeba("test") == parts["test"] != tatoeba("test", seed=1)
    put(folders[0], known_file, "tatoeba-cmn-eng/cmn.txt", "Hi.\t嗨。\n")
    with pytest.raises(DataError, match="pair 1 has no 3 columns"):
        tatoeba()


def test_the_real_files(real_data):
    train, test = multi30k(), multi30k("fr", "test")
    assert len(train.source) == len(train.target) == 29000 and len(test.source) == 1000
    assert train.target[0] == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."
    parts = [tatoeba(split) for split in ("train", "val", "test")]
    assert sum(len(p.source) for p in parts) == 29155
    sources, references = parts[2].grouped()
    assert 1000 <= len(sources) <= 1005 and len(parts[2].source) == sum(map(len, references))
    assert not set(sources) & set(parts[0].source)
    assert max(map(len, references)) > 1
    assert all("tatoeba.org" in c for c in parts[2].credits)


def test_references_are_all_translations_of_a_source():
    pairs = SentencePairs(["Hi.", "Run.", "Hi."], ["嗨。", "跑。", "你好。"])
    assert pairs.grouped() == (["Hi.", "Run."], [["嗨。", "你好。"], ["跑。"]])


def test_batches_hold_every_pair_once_with_little_padding():
    rng = np.random.default_rng(0)
    sources = [[i + 1] * rng.integers(1, 20) for i in range(500)]
    targets = [[i + 1] * (len(s) + rng.integers(0, 3)) for i, s in enumerate(sources)]
    loader = pair_loader(sources, targets, 16, seed=3)
    epochs = [[(s.numpy(), t.numpy()) for s, t in loader] for _ in range(2)]
    for batches in epochs:
        seen = [s[:, 0] for s, _ in batches]
        assert sorted(np.concatenate(seen).tolist()) == list(range(1, 501))
        for source, target in batches:
            assert np.array_equal(source[:, 0], target[:, 0])          # still pairs
        padding = [np.mean(np.concatenate([x.ravel() for x in side]) == 0)
                   for side in zip(*batches, strict=True)]
        assert padding[0] < 0.1 and padding[1] < 0.05
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])
    again = next(iter(pair_loader(sources, targets, 16, seed=3)))
    assert np.array_equal(again[0].numpy(), epochs[0][0][0])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: multi30k("zh"), r"\[multi30k\] language must be 'de' or 'fr', got 'zh'"),
    (lambda: multi30k(split="dev"), r"split must be one of train, val, test, got 'dev'"),
    (lambda: pair_loader([[1]], [[1], [2]], 2), "1 sources and 2 targets"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
