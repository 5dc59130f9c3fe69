"""The known data files: where they come from, their sizes and SHA-256 hashes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataFile:
    """One file: its path below a data folder, its size in bytes, and where it is published."""

    name: str
    size: int
    sha256: str
    page: str = ""
    urls: tuple[str, ...] = ()  # direct downloads of exactly these bytes; empty where there is none
    licence: str = ""
    note: str = ""  # how these bytes differ from what the page offers


@dataclass(frozen=True)
class _Source:
    page: str
    licence: str
    folders: tuple[str, ...] = ()  # URLs that give the file when its name is appended
    note: str = ""


_GITHUB = "https://raw.githubusercontent.com/"

_SOURCES = {
    "mnist": _Source(
        "http://yann.lecun.com/exdb/mnist/",
        "commonly given as CC BY-SA 3.0 (LeCun, Cortes)",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion-mnist": _Source(
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT (Zalando SE)",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            _GITHUB + "zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    "celeba": _Source(
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "CelebA agreement: non-commercial research only, no redistribution",
        note="the first 10000 aligned pictures, halved to 89x109, and their attributes; the page "
        "has the whole set, which ImageFolder reads once unpacked",
    ),
    "tinyshakespeare": _Source(
        "https://github.com/karpathy/char-rnn",
        "text in the public domain",
        (_GITHUB + "karpathy/char-rnn/master/data/tinyshakespeare/",),
    ),
    "names": _Source(
        "https://github.com/karpathy/makemore",
        "MIT",
        (_GITHUB + "karpathy/makemore/master/",),
    ),
    "rt-polarity": _Source(
        "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        "none stated; research use, cite Pang and Lee 2005",
        (_GITHUB + "yoonkim/CNN_sentence/master/",),
    ),
    "imdb": _Source(
        "https://ai.stanford.edu/~amaas/data/sentiment/",
        "none stated; research use, cite Maas et al. 2011",
        note="7000 of the 50000 reviews",
    ),
    "multi30k": _Source(
        "https://github.com/multi30k/dataset",
        "non-commercial research and education; cite Elliott et al. 2016",
        (_GITHUB + "multi30k/dataset/master/data/task1/raw/",),
    ),
    "tatoeba-cmn-eng": _Source(
        "https://www.manythings.org/anki/",
        "CC BY 2.0 FR",
        note="cmn.txt of cmn-eng.zip, an edition of 29155 pairs; newer ones have more",
    ),
    "csl-title": _Source("https://github.com/ydli-ai/CSL", "Apache-2.0"),
    "ml-latest-small": _Source(
        "https://grouplens.org/datasets/movielens/latest/",
        "GroupLens: research, non-commercial, keep README.txt beside the files",
    ),
    "fsdd": _Source(
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0",
        note="recordings/*.wav of the repository in one zip",
    ),
    "flickr8k-mini": _Source(
        "https://hockenmaier.cs.illinois.edu/Framing_Image_Description/KCCA.html",
        "non-commercial research and education only, no redistribution; cite Hodosh et al. 2013",
        note="the first 500 pictures by name, scaled to 200 pixels, and their captions",
    ),
    "pictures": _Source(
        "https://github.com/scikit-image/scikit-image and https://scikit-learn.org (content), "
        "https://github.com/jcjohnson/neural-style (style)",
        "public domain, CC0 or CC BY 2.0, picture by picture",
    ),
}

# path, bytes, SHA-256
_FILES = """
mnist/train-images-idx3-ubyte.gz 9912422
    440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
mnist/train-labels-idx1-ubyte.gz 28881
    3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
mnist/t10k-images-idx3-ubyte.gz 1648877
    8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
mnist/t10k-labels-idx1-ubyte.gz 4542
    f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
fashion-mnist/train-images-idx3-ubyte.gz 26421880
    3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
fashion-mnist/train-labels-idx1-ubyte.gz 29515
    a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
fashion-mnist/t10k-images-idx3-ubyte.gz 4422102
    346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
fashion-mnist/t10k-labels-idx1-ubyte.gz 5148
    67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
celeba/img_align_celeba_10k_89x109.zip 28962932
    99f494cbbfa81f0386f8db692a479d50bb3dd612a998e29154658fe894908155
celeba/list_attr_celeba.txt 1309371
    2147bb82859100d956c2ecc2d77e8c6a3d493d51c0ae7519ac8c797041b100c1
tinyshakespeare/input.txt 1115394
    86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed
names/names.txt 228145
    0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d
rt-polarity/rt-polarity.pos 626139
    2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0
rt-polarity/rt-polarity.neg 612256
    4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca
imdb/aclImdb_subset.tar.gz 3892427
    e08f2fb9aca2da40a041cf54903da701ad9518794eddcd7aecb93445c56a7410
multi30k/train.en.gz 568929
    d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f
multi30k/train.de.gz 637044
    726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6
multi30k/train.fr.gz 604242
    622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c
multi30k/val.en.gz 21650
    14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28
multi30k/val.de.gz 24681
    f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a
multi30k/val.fr.gz 23001
    ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9
multi30k/test_2016_flickr.en.gz 21077
    611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9
multi30k/test_2016_flickr.de.gz 22890
    9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8
multi30k/test_2016_flickr.fr.gz 22310
    6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90
tatoeba-cmn-eng/cmn.txt 4151351
    9da1af87e3e61650aa38595e60baef3a4e3a18ed239a7ef4a764c0a87c7ddeff
csl-title/ts_dev.tsv 623069
    63fc67552bdad69b392e89295c8055e2c1b8d5e8acf6fec614738056451ccb45
csl-title/ts_test.tsv 620191
    51900a71a26193525e98fa4e65c0e78ea4ca0b84cd1f0da0de0690ffdb85791d
ml-latest-small/ratings.csv 2483723
    aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646
ml-latest-small/movies.csv 494431
    5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07
ml-latest-small/links.csv 197979
    97ad18e4e56a09363c65676b6cb3482ce3e2cea2372a24620c1599c843325f31
ml-latest-small/tags.csv 118660
    92a9f8bb7916dceef6151209845788c3643f794dfa79d1feaec7121b5960399d
ml-latest-small/README.txt 8344
    e165937702ae1fac9237b6bd377f03d027f7ef97175d4a04a203e8b12d5516ea
fsdd/fsdd_recordings.zip 16157653
    7e653241b4d3d5b98fcad8348ea1202f6194efde2c059c1ac6cf62a367315841
flickr8k-mini/images.zip 3800047
    e9684c33ede52f88fc42cc30f4c26805bec3c3117d233825304315bbd9a03fad
flickr8k-mini/captions.txt 207083
    5f8d05e6788feda8613779926aecbe18083e5c31b24f818ea60e539851861d56
pictures/content/astronaut.png 791555
    88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5
pictures/content/chelsea.png 240512
    596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb
pictures/content/coffee.png 466706
    cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7
pictures/content/rocket.jpg 112525
    c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c
pictures/content/china.jpg 196653
    8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29
pictures/content/flower.jpg 142987
    a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638
pictures/style/starry_night_google.jpg 613337
    c31741a09141c2e2d07fc7aa6bdf135c369b804f9433e43fa3ceac19386d1ee6
pictures/style/shipwreck.jpg 144730
    4f7cf34e3cd4a5daaf3f421f059ca9a01aaa2a3afd7243d6670c9c8bc001a213
pictures/style/the_scream.jpg 216723
    f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee
"""


def _known_files() -> dict[str, DataFile]:
    words = _FILES.split()
    files = {}
    for name, size, sha256 in zip(words[0::3], words[1::3], words[2::3], strict=True):
        folder, file_name = name.split("/", 1)
        source = _SOURCES[folder]
        urls = tuple(base + file_name for base in source.folders)
        files[name] = DataFile(
            name, int(size), sha256, source.page, urls, source.licence, source.note
        )
    return files


KNOWN_FILES = _known_files()


def licence_of(name: str) -> str | None:
    """The licence of a data set by its name, such as "mnist"; None where it is not known."""
    name = name.lower().replace("_", "-")
    if name == "digits":        # in the package: see DIGITS.md
        return "CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI)"
    name = {"tatoeba": "tatoeba-cmn-eng", "multi30k-de": "multi30k", "multi30k-fr": "multi30k"}.get(
        name, name)
    return _SOURCES[name].licence if name in _SOURCES else None
