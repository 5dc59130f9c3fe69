"""Records in generated files: every kind, other readers, changed files, `tinygen inspect`."""

import io
import json
import struct
import wave

import numpy as np
import pytest

import tinygen as tg
from tinygen import provenance
from tinygen.data.catalog import licence_of
from tinygen.provenance import Provenance, ProvenanceError, embed, extract, read, stamp, strip
from tinygen.train.origin import origin
from tinygen.viz import save_grid
from tinygen.viz.png import encode_png

RECORD = Provenance("vae", 7, "CC BY 4.0, « as is »", data="digits", step=3, more={"beta": 2.5})


def picture():
    return encode_png(np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8))


def sound(samples=101):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)        # an odd number of bytes: RIFF pads them
        out.setframerate(8000)
        out.writeframes(bytes(range(samples)))
    return buffer.getvalue()


FILES = {"png": picture(), "wav": sound(), "txt": "one\ntwo\nthree ж".encode(), "md": b"",
         "json": json.dumps({"b": [1, 2.5, None], "a": "ж"}).encode()}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_written_is_read(kind, tmp_path):
    path = tmp_path / f"made.{kind}"
    path.write_bytes(FILES[kind])
    assert read(path) is None
    assert stamp(path, RECORD) == path
    found = read(path)
    assert found.unchanged is True
    assert found.record == {"generated": True, "software": f"tinygen {tg.__version__}", "beta": 2.5,
                            "model": "vae", "seed": 7, "licence": "CC BY 4.0, « as is »",
                            "data": "digits", "step": 3}
    stamp(path, Provenance("gan", None, "MIT"))
    again = read(path)
    assert again.record["model"] == "gan" and "seed" not in again.record and again.unchanged
    once = embed(FILES[kind], kind, Provenance("gan", None, "MIT"))
    assert path.read_bytes() == once, "the old record is gone whole"


@pytest.mark.parametrize("kind", ["png", "wav", "txt", "md"])
def test_without_its_record_a_file_is_what_it_was(kind):
    content = sound(100) if kind == "wav" else FILES[kind]      # wave forgets to pad an odd number
    assert strip(embed(content, kind, RECORD), kind) == content


def test_pillow_sees_the_same_pixels_and_the_record():
    Image = pytest.importorskip("PIL.Image")
    marked = Image.open(io.BytesIO(embed(picture(), "png", RECORD)))
    assert np.array_equal(np.asarray(marked), np.asarray(Image.open(io.BytesIO(picture()))))
    assert json.loads(marked.text["tinygen"])["licence"] == RECORD.licence


def test_a_grid_is_saved_with_its_record(tmp_path):
    images = np.random.default_rng(1).random((4, 1, 5, 5))
    plain, marked = (save_grid(images, tmp_path / f"{name}.png", record)
                     for name, record in (("plain", None), ("marked", RECORD)))
    assert read(plain) is None and read(marked).record["seed"] == 7
    assert strip(marked.read_bytes(), "png") == plain.read_bytes()


def test_wave_and_scipy_hear_the_same_sound():
    marked = embed(sound(), "wav", RECORD)
    with wave.open(io.BytesIO(marked)) as a, wave.open(io.BytesIO(sound())) as b:
        assert a.getparams() == b.getparams() and a.readframes(200) == b.readframes(200)
    wavfile = pytest.importorskip("scipy.io.wavfile")
    rate, samples = wavfile.read(io.BytesIO(marked))
    assert rate == 8000 and samples.tolist() == list(range(101))
    assert struct.unpack("<I", marked[4:8])[0] == len(marked) - 8


def test_json_keeps_its_values_and_may_be_laid_out_anew():
    marked = json.loads(embed(FILES["json"], "json", RECORD))
    assert marked.pop("provenance")["model"] == "vae"
    assert marked == json.loads(FILES["json"])
    compact = json.dumps({**marked, "provenance": json.loads(
        embed(FILES["json"], "json", RECORD))["provenance"]}, separators=(",", ":")).encode()
    assert extract(compact, "json").unchanged is True


@pytest.mark.parametrize(("kind", "change"), [
    ("png", lambda d: d.replace(picture()[8:33], picture()[8:24] + b"\x10" + picture()[25:33])),
    ("wav", lambda d: d.replace(b"\x05\x06\x07", b"\x05\x06\x08")),
    ("txt", lambda d: d.replace(b"two", b"2")),
    ("json", lambda d: d.replace(b"2.5", b"2.6", 1)),
])
def test_a_change_is_seen(kind, change):
    marked = embed(FILES[kind], kind, RECORD)
    changed = change(marked)
    assert changed != marked
    found = extract(changed, kind)
    assert found.unchanged is False and found.record["model"] == "vae"


@pytest.mark.parametrize(("data", "kind", "words"), [
    (b"GIF89a", "png", "no PNG file"), (picture()[:-20], "png", "cut off"),
    (picture()[:8] + picture()[33:], "png", "does not begin with its header"),
    (b"ID3", "wav", "no WAV file"), (sound()[:-9], "wav", "cut off"), (b"[1]", "json", "a list"),
    (b"{", "json", "no JSON file"), (b"x", "csv", "kind 'csv'; kinds: png, wav, txt"),
    (b"\n[provenance] {\n", "txt", "record is damaged"),
    (b"\n[provenance] [1]\n", "txt", "no JSON object"),
    (b"\n[provenance] \xff\n", "txt", "record is damaged"),
])
def test_other_files_are_refused(data, kind, words):
    with pytest.raises(ProvenanceError, match=words):
        extract(data, kind)


def test_a_damaged_record_of_a_picture_is_refused():
    with pytest.raises(ProvenanceError, match="its checksum is wrong"):
        extract(embed(picture(), "png", RECORD).replace(b'"vae"', b'"gan"'), "png")


@pytest.mark.parametrize("name", ["model", "licence"])
def test_a_record_says_something(name):
    with pytest.raises(ValueError, match=f"{name} must be a text"):
        Provenance(**{"model": "vae", "seed": 0, "licence": "MIT", name: " "})


def test_weights_carry_a_record(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    tg.save({"w": tg.ones(3), "n": {"step": 4}}, path, {"note": "kept"})
    assert read(path) is None
    stamp(path, RECORD)
    assert read(path).record["model"] == "vae" and tg.load(path)["n"]["step"] == 4
    assert tg.serialization.read_metadata(path)["note"] == "kept"
    path.write_bytes(path.read_bytes().replace(b'vae', b'gan'))
    with pytest.raises(tg.serialization.DamagedFileError):
        read(path)


def test_where_the_data_lay_stays_private():
    config = {"model": "vae", "seed": 1, "options": {"data": "/home/someone/holiday"}}
    record = origin(config, 5, step=2).record()
    assert record["data"] == "holiday" and "someone" not in json.dumps(record)
    assert record["licence"].startswith("not stated") and record["training_seed"] == 1
    assert licence_of("digits").startswith("CC BY 4.0") and licence_of("nothing") is None
    mnist = origin({"model": "vae", "seed": 1, "options": {"data": "mnist"}}, 1).record()
    assert "CC BY-SA 3.0" in mnist["licence"] and "training_seed" not in mnist
    own = origin({"model": "vae", "seed": 1, "options": {"data": "/pictures/mnist"}}, 1).record()
    assert own["licence"].startswith("not stated"), "a folder that is called so is not MNIST"


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def tinygen(capsys):
    pytest.importorskip("typer")
    from tinygen import cli

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_all_that_a_run_generates_says_where_it_comes_from(tinygen, tmp_path):
    out = tmp_path / "run"
    small = ["--hidden", 16, "--latent", 2, "--steps", 5, "--seed", 3, "--quiet"]
    assert tinygen("train", "vae", *small, "--out", out)[0] == 0
    assert tinygen("sample", out, "--n", 4, "--seed", 8)[0] == 0
    assert tinygen("interpolate", out, "--rows", 2, "--steps", 3)[0] == 0
    assert tinygen("reconstruct", out, "--n", 4)[0] == 0
    seeds = {"samples.png": 3, "samples/step-00000005.png": 3, "grid.png": 8,
             "interpolation.png": 0, "reconstruction.png": None,
             "checkpoints/step-00000005.safetensors": 3, "checkpoints/best.safetensors": 3}
    for name, seed in seeds.items():
        code, said, errors = tinygen("inspect", out / name, "--json")
        assert code == 0, errors
        record = json.loads(said)
        assert record["model"] == "vae" and record["unchanged"] is True, name
        assert record.get("seed") == seed and "CC BY 4.0" in record["licence"], name
    code, said, _ = tinygen("inspect", out / "grid.png")
    lines = dict(line.split("  ", 1) for line in said.splitlines())
    assert code == 0 and {k: v.strip() for k, v in lines.items()}["model"] == "vae"
    assert "as it was when the record was written" in said
    (out / "grid.png").write_bytes((out / "grid.png").read_bytes().replace(b"IEND", b"iEND"))
    assert "CHANGED since the record was written" in tinygen("inspect", out / "grid.png")[1]


@pytest.mark.parametrize(("name", "content", "code", "words"), [
    ("plain.png", picture(), 1, "carries no record of where it comes from"),
    ("plain.csv", b"a,b", 1, "no record can live in a file of kind 'csv'"),
    ("bad.png", b"GIF89a", 1, "no PNG file"), ("absent.png", None, 1, "cannot read"),
    ("bad.safetensors", b"12345678{", 1, "no safetensors file"), ("", None, 2, "is a folder"),
])
def test_inspect_says_what_is_wrong(tinygen, tmp_path, name, content, code, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    found, said, errors = tinygen("inspect", tmp_path / name)
    assert (found, said) == (code, "") and words in errors and "Traceback" not in errors


def test_every_kind_is_listed():
    assert set(FILES) == set(provenance.FORMATS)
