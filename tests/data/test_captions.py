"""Pictures with captions: batches, right pairs, Flickr8k's files, errors."""

import io
import zipfile

import numpy as np
import pytest

from tinygen.data import CaptionedImages, DataError, DataLoader, Flickr8kMini, MissingDataError
from tinygen.text import WordTokenizer

IMAGES = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
CAPTIONS = [["a cat", "one small cat"], ["a dog"], ["the cat"]]


def three():
    return CaptionedImages(IMAGES, CAPTIONS, groups=[0, 1, 0])


def test_captions_of_a_group_are_right_for_all_its_pictures():
    data = three()
    assert data.texts == ["a cat", "one small cat", "a dog", "the cat"]
    assert data.owners.tolist() == [0, 0, 1, 2]
    assert data.right().tolist() == [[True, True, False, True], [False, False, True, False],
                                     [True, True, False, True]]


def test_a_batch_draws_one_caption_of_each_picture():
    data = three()
    tokenizer = WordTokenizer().fit(data.texts)
    data.tokenize(tokenizer)
    assert data.tokens.shape == (4, 5), "the longest has three words between bos and eos"
    seen = set()
    for epoch in range(8):
        loader = DataLoader(data, 3, seed=epoch)
        for pictures, tokens, groups in loader:
            np.testing.assert_allclose(pictures.numpy(), IMAGES / 255, rtol=1e-6)
            assert groups.tolist() == [0, 1, 0]
            texts = tokenizer.decode_batch(tokens)
            assert all(text in own for text, own in zip(texts, CAPTIONS, strict=True))
            seen.add(texts[0])
    assert seen == set(CAPTIONS[0])
    first = data.batch(np.array([0]))[1]
    assert tokenizer.decode(first[0]) == "a cat", "without a generator the first"


def test_long_captions_are_cut():
    data = three()
    tokenizer = WordTokenizer().fit(data.texts)
    cut = data.tokenize(tokenizer, longest=3).tokens
    assert cut.shape == (4, 3) and tokenizer.decode(cut[1]) == "one small"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: CaptionedImages(IMAGES[0], CAPTIONS), r"images: uint8 \(1, 4, 4\)"),
    (lambda: CaptionedImages(IMAGES / 255, CAPTIONS), "images: float64"),
    (lambda: CaptionedImages(IMAGES, CAPTIONS[:2]), "a list of 2; expected 3 lists"),
    (lambda: CaptionedImages(IMAGES, [*CAPTIONS[:2], []]), "with a text or more each"),
    (lambda: CaptionedImages(IMAGES, ["a", "b", "c"]), "3 lists, one for each picture"),
    (lambda: CaptionedImages(IMAGES, CAPTIONS, groups=[0]), r"groups: \(1,\); expected \(3,\)"),
    (lambda: three().tokenize(WordTokenizer(specials={"pad": None}).fit(["a"])), "pads with None"),
])
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_batches_need_numbers():
    with pytest.raises(RuntimeError, match=r"call tokenize\(tokenizer\) first"):
        three().batch(np.array([0]))


def place(data, known_file, names, lines=None):
    """Flickr8k's two files with small pictures, one for each name."""
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i, name in enumerate(names):
            part = io.BytesIO()
            image.new("RGB", (12, 8), (20 * i, 0, 0)).save(part, "PNG")
            archive.writestr(f"Images/{name}", part.getvalue())
    text = "image,caption\n" + "".join(f"{n},A Dog number {i} .\n{n},\"Big, black\"\n"
                                       for i, n in enumerate(names)) if lines is None else lines
    (data / "flickr8k-mini").mkdir()
    for name, content in (("images.zip", buffer.getvalue()), ("captions.txt", text.encode())):
        known_file(f"flickr8k-mini/{name}", content)
        (data / "flickr8k-mini" / name).write_bytes(content)


NAMES = [f"{i}.jpg" for i in range(10)]


def test_flickr_every_fifth_is_held_out(folders, known_file):
    place(folders[0], known_file, NAMES)
    train, test = Flickr8kMini(size=8), Flickr8kMini(train=False, size=8)
    assert test.names == ["4.jpg", "9.jpg"] and len(train) == 8
    assert test.captions[0] == ["a dog number 4 .", "big, black"]
    assert test.images[:, 0, 0, 0].tolist() == [80, 180], "each picture stands by its own captions"


@pytest.mark.parametrize(("lines", "words"), [
    ("picture,text\n", "the first line is 'picture,text'"),
    ("image,caption\n0.jpg,one,two\n", "line 2: a name and a caption are expected, found 3"),
    ("image,caption\n0.jpg,one\nother.jpg,two\n", "lacks 1 pictures, such as Images/other.jpg"),
])
def test_flickr_says_what_is_wrong_with_a_file(folders, known_file, lines, words):
    place(folders[0], known_file, NAMES[:1], lines)
    with pytest.raises(DataError, match=words):
        Flickr8kMini()


def test_flickr_missing_is_named_with_its_source(folders):
    with pytest.raises(MissingDataError, match=r"flickr8k-mini/captions\.txt was not found(?s:.*)"
                                               r"hockenmaier(?s:.*)5f8d05e6788f"):
        Flickr8kMini()


def test_flickr_is_what_its_readme_says(real_data):
    train, test = Flickr8kMini(size=16), Flickr8kMini(train=False, size=16)
    assert (len(train), len(test), len(train.owners), len(test.owners)) == (400, 100, 2000, 500)
    assert not set(train.names) & set(test.names)
    assert len(np.unique(train.images.reshape(400, -1), axis=0)) > 390, "decoded, not blank"
