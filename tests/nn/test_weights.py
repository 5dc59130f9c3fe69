"""Weights of other tools: names, layouts, types, shards; nothing is ever half loaded."""

import json

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.serialization import DamagedFileError

pytest.importorskip("safetensors")


def net():
    return nn.Sequential({"first": nn.Linear(3, 4), "norm": nn.LayerNorm(4)})


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {"first.weight": rng.standard_normal((4, 3)).astype("f4"),
            "first.bias": rng.standard_normal(4).astype("f4"),
            "norm.weight": rng.standard_normal(4).astype("f4"),
            "norm.bias": rng.standard_normal(4).astype("f4")}


def check(module, expected=None):
    for name, t in module.state_dict().items():
        np.testing.assert_array_equal(t.data, (expected or values())[name])


def write(path, tensors):
    """A file as other tools write it: no checksum of ours."""
    from safetensors.numpy import save_file
    save_file(tensors, path, metadata={"format": "pt"})
    return path


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rename", [
    {"in.weight": "first.weight", "in.bias": "first.bias", "extra": None},
    [(r"in\.(.*)", r"first.\1"), ("extra", None)],
    [nn.Rule(r"in\.(.*)", r"first.\1"), nn.Rule("ex.*", None)],
    lambda key: None if key == "extra" else key.replace("in.", "first."),
])
def test_renamed_keys(rename, tmp_path):
    old = {"in.weight": "first.weight", "in.bias": "first.bias"}
    new = {key: values()[old.get(key, key)] for key in
           ("in.weight", "in.bias", "norm.weight", "norm.bias")} | {"extra": np.zeros(3, "f4")}
    for source in (new, write(tmp_path / "w.safetensors", new)):
        module = net()
        assert nn.load_weights(module, source, rename) == ([], [])
        check(module)


def test_prefixes_transposes_and_parts():
    given = values()
    source = {"model.norm.weight": given["norm.weight"], "norm.bias": given["norm.bias"],
              "model.first.kernel": np.ascontiguousarray(given["first.weight"].T),
              "model.b.1": given["first.bias"][2:], "model.b.0": given["first.bias"][:2]}
    module = net()
    nn.load_weights(module, source, prefix="model.", rename=[
        nn.Rule(r"first\.kernel", "first.weight", transpose=True),
        *(nn.Rule(rf"b\.{i}", "first.bias", part=(i, 2)) for i in range(2))])
    check(module)


def test_all_that_is_wrong_is_listed_at_once_and_nothing_is_loaded():
    source = {"first.weight": np.zeros((4, 3), "f4"), "norm.weight": np.zeros(5, "f4"),
              "other": np.zeros(2, "f4"), "a": np.zeros(4, "f4"), "vector": np.zeros(3, "f4"),
              "p0": np.zeros(2, "f4"), "w": np.zeros((4, 3), "f4")}
    module = net()
    before = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    rules = [("a", "norm.weight"), nn.Rule("vector", "v", transpose=True), ("w", "first.weight"),
             nn.Rule("p0", "first.bias", part=(0, 2))]
    with pytest.raises(RuntimeError) as caught:
        nn.load_weights(module, source, rules)
    text = str(caught.value)
    for part in ("nothing was loaded into Sequential", "missing keys: norm.bias",
                 "unexpected keys: other", "both norm.weight and a have this name",
                 "both first.weight and w have this name",
                 "vector: shape (3,) has no two axes to transpose",
                 "first.bias: parts 0 to 1 are needed, found [0] in p0",
                 "first.bias (from p0): shape (2,) in the state dict, (4,) in the module"):
        assert part in text, (part, text)
    check(module, before)


def test_without_strict_names_may_differ_but_shapes_may_not():
    source = {"x.norm.weight": values()["norm.weight"], "x.other": np.zeros(2, "f4")}
    module = net()
    before = module.state_dict()["first.weight"].numpy().copy()
    result = nn.load_weights(module, source, prefix="x.", strict=False)
    assert result.missing_keys == ["first.weight", "first.bias", "norm.bias"]
    assert result.unexpected_keys == ["x.other"]
    check(module.norm, {"weight": values()["norm.weight"], "bias": np.zeros(4)})
    assert np.array_equal(module.first.weight.data, before)
    wrong = {"norm.weight": np.ones(4, "f4"), "first.weight": np.zeros((3, 4), "f4")}
    with pytest.raises(RuntimeError, match=r"first.weight: shape \(3, 4\) .*, \(4, 3\) in the mod"):
        nn.load_weights(module, wrong, strict=False)
    check(module.norm, {"weight": values()["norm.weight"], "bias": np.zeros(4)})


def test_a_tied_tensor_may_stand_in_the_file_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.table.weight
    module, table = Tied(), np.arange(15, dtype="f4").reshape(5, 3)
    assert nn.load_weights(module, {"table.weight": table}) == ([], [])
    assert np.array_equal(module.head.weight.data, table)
    with pytest.raises(RuntimeError, match=r"missing keys: table\.weight, head\.weight"):
        nn.load_weights(module, {})


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_narrow_and_wide_files(kind, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file
    given = {k: torch.tensor(v).to(getattr(torch, kind)) for k, v in values().items()}
    save_file(given, tmp_path / "w.safetensors")
    exact = {k: v.double().numpy().astype("f4") for k, v in given.items()}
    for source in (tmp_path / "w.safetensors", given):
        module = net()
        nn.load_weights(module, source)
        check(module, exact)
        assert module.first.weight.dtype == np.float32
        nn.load_weights(module, source, dtype="float64")
        assert module.first.weight.dtype == module.norm.bias.dtype == np.float64
        check(module, {k: v.double().numpy() for k, v in given.items()})


def test_a_dtype_is_not_changed_when_loading_fails():
    module = net()
    with pytest.raises(RuntimeError, match="missing keys"):
        nn.load_weights(module, {}, dtype="float64")
    assert module.first.weight.dtype == np.float32


# -- shards ----------------------------------------------------------------------------------------


def shards(folder, lose=()):
    given = values()
    parts = {"model-00001-of-00002.safetensors": ["first.weight", "norm.bias"],
             "model-00002-of-00002.safetensors": ["first.bias", "norm.weight"]}
    for file, keys in parts.items():
        write(folder / file, {k: given[k] for k in keys if k not in lose})
    index = {"metadata": {"total_size": 1}, "weight_map": {k: f for f, ks in parts.items()
                                                           for k in ks}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder / "model.safetensors.index.json"


def test_shards_by_index_and_by_folder(tmp_path):
    for source in (shards(tmp_path), tmp_path):
        module = net()
        nn.load_weights(module, source)
        check(module)


def test_a_folder_with_one_file_and_folders_without_a_choice(tmp_path):
    write(tmp_path / "weights.safetensors", values())
    module = net()
    nn.load_weights(module, tmp_path)
    check(module)
    write(tmp_path / "more.safetensors", values())
    with pytest.raises(FileNotFoundError, match=r"several: more.safetensors, weights.safetensors"):
        nn.read_weights(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"found none; it holds pytorch_model.bin"):
        nn.read_weights(tmp_path / "empty")


def test_broken_sets_of_shards(tmp_path):
    index = shards(tmp_path, lose=["norm.bias"])
    with pytest.raises(DamagedFileError, match=r"do not hold: norm.bias \(model-00001"):
        nn.read_weights(index)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"not there: model-00001-of-00002\.safetensors"):
        nn.read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(DamagedFileError, match="outside of its folder"):
        nn.read_weights(index)
    for text in ("{", "{}", "[]", '{"weight_map": {"a": 3}}'):
        index.write_text(text)
        with pytest.raises(DamagedFileError, match="is no index of shards"):
            nn.read_weights(index)


def test_files_of_tinygen_are_still_checked(tmp_path):
    tg.save(net(), tmp_path / "own.safetensors")
    raw = bytearray((tmp_path / "own.safetensors").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "own.safetensors").write_bytes(raw)
    with pytest.raises(DamagedFileError, match="does not match the SHA-256"):
        nn.load_weights(net(), tmp_path)
