"""tg.save and tg.load: what comes back, and what damaged files and full disks do."""

import os
import random

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.serialization import DamagedFileError, read_metadata

pytest.importorskip("safetensors")


def state():
    rng = np.random.default_rng(0)
    return {"weight": tg.Tensor(rng.standard_normal((3, 4)).astype("f4")),
            "steps": tg.Tensor(np.arange(5)), "empty": tg.zeros((0, 2)),
            "scalar": tg.Tensor(np.float64(2.5)), "mask": tg.Tensor([True, False])}


def same(a, b):
    assert list(a) == list(b) or set(a) == set(b)
    for key in a:
        assert a[key].dtype == b[key].dtype and np.array_equal(a[key].data, b[key].data)


def test_a_flat_dictionary_comes_back_and_other_tools_read_it(tmp_path):
    path = tmp_path / "w.safetensors"
    tg.save(state(), path, metadata={"epoch": "3", "note": "größer"})
    same(tg.load(path), state())
    assert read_metadata(path) == {"epoch": "3", "note": "größer"}
    from safetensors.numpy import load_file
    same({k: tg.Tensor(v) for k, v in load_file(path).items()}, state())
    loaded = tg.load(path)["weight"]
    loaded.data[0] = 1                               # writable, and the file is not touched
    same(tg.load(path), state())


def test_views_and_foreign_byte_orders_are_written_as_they_look(tmp_path):
    big = np.arange(6, dtype=">f4").reshape(2, 3)
    tg.save({"t": tg.asarray(np.arange(6.0).reshape(2, 3)).T, "big": big}, tmp_path / "v")
    back = tg.load(tmp_path / "v")
    assert np.array_equal(back["t"].data, np.arange(6.0).reshape(2, 3).T)
    assert np.array_equal(back["big"].data, big)


def test_nested_dictionaries_and_plain_values_come_back(tmp_path):
    nested = {"model": state(), "optimizer": {"state": {0: {"m": tg.ones((2,)), "step": 7},
                                                        12: {"m": tg.zeros((2,)), "step": 8}},
                                              "groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
              "nothing": None, "done": False, "inf": float("inf"), "name": "a.b", "none": {}}
    tg.save(nested, tmp_path / "c.safetensors")
    back = tg.load(tmp_path / "c.safetensors")
    assert list(back) == list(nested)
    same(back.pop("model"), nested.pop("model"))
    assert np.array_equal(back["optimizer"]["state"][0].pop("m").data, [1, 1])
    assert np.array_equal(back["optimizer"]["state"][12].pop("m").data, [0, 0])
    for i in (0, 12):
        nested["optimizer"]["state"][i].pop("m")
    assert back == nested


def test_a_module_is_saved_by_its_state(tmp_path):
    net, twin = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    tg.save(net, tmp_path / "m")
    twin.load_state_dict(tg.load(tmp_path / "m"))
    same(twin.state_dict(), net.state_dict())


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path):
    for obj, words in [({"a": {"b": object()}}, r"a\.b is a object"), ([1], "a module or a dict"),
                       ({"a": np.array(["x"])}, "a has dtype"),
                       ({"a.b": tg.ones(()), "a": {"b": tg.ones(())}}, "two tensors .* 'a.b'"),
                       ({1.5: tg.ones(())}, "keys must be strings or integers")]:
        with pytest.raises(TypeError, match=words):
            tg.save(obj, tmp_path / "x")
    for notes in ({"a": 1}, {"tinygen.x": "1"}):
        with pytest.raises(TypeError, match="metadata must map strings"):
            tg.save(state(), tmp_path / "x", metadata=notes)
    assert os.listdir(tmp_path) == []


# -- faults --------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    tg.save({"weight": tg.ones((2, 3)), "opt": {"lr": 0.1}}, path, metadata={"epoch": "3"})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises(DamagedFileError, match=r"w\.safetensors"):
            tg.load(path)


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    tg.save(state(), path)
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 9, *random.Random(0).sample(range(10, len(whole)), 60)]:
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError, match=r"w\.safetensors is damaged"):
            tg.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedFileError):
        tg.load(path)


def test_pickles_are_refused_with_a_way_out(tmp_path):
    import pickle
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DamagedFileError, match=r"model\.pt is a pickle.*safetensors"):
        tg.load(path)
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "none")


def test_a_header_whose_length_looks_like_a_pickle_loads(tmp_path):
    """640 is 80 02 in bytes: the start of a pickle of protocol 2."""
    for n in range(640):
        tg.save({"a": tg.ones(())}, tmp_path / "w", metadata={"x": "y" * n})
        start = (tmp_path / "w").read_bytes()[:2]
        if start in (b"\x80\x02", b"\x80\x04"):
            assert tg.load(tmp_path / "w")["a"].item() == 1
            return
    pytest.fail("no header of such a length was met")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, broken):
    path = tmp_path / "w.safetensors"
    tg.save({"a": tg.ones((2,))}, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        tg.save({"a": tg.zeros((2,))}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["w.safetensors"]


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"safetensors.*tinygen\[app\]"):
        tg.save(state(), tmp_path / "x")
