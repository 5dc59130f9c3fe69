"""State dicts, in memory and through safetensors files, in both directions with PyTorch."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn


def build(lib):
    return lib.Sequential(lib.Conv2d(2, 3, 3), lib.BatchNorm2d(3), lib.ReLU(), lib.Flatten(),
                          lib.Linear(3 * 16, 4), lib.LayerNorm(4))


def image(seed=0):
    return np.random.default_rng(seed).standard_normal((2, 2, 6, 6)).astype("f4")


def test_values_share_the_modules_memory_and_carry_no_graph():
    net = build(nn)
    state = net.state_dict()
    assert not any(v.requires_grad for v in state.values())
    state["0.bias"].data[...] = 7
    assert (net[0].bias.data == 7).all()
    assert net.state_dict(prefix="net.", keep_vars=True)["net.0.bias"] is net[0].bias


def test_pytorch_to_tinygen_and_back():
    torch = pytest.importorskip("torch")
    theirs, ours = build(torch.nn), build(nn)
    theirs(torch.tensor(image(1)))                      # moves the running statistics
    result = ours.load_state_dict(theirs.state_dict())
    assert result.missing_keys == [] and result.unexpected_keys == []
    a = ours.eval()(tg.Tensor(image())).detach().numpy()
    b = theirs.eval()(torch.tensor(image())).detach().numpy()
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert ours[1].num_batches_tracked.item() == 1 and ours[1].num_batches_tracked.dtype == np.int64
    fresh = build(torch.nn)
    fresh.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    np.testing.assert_allclose(fresh.eval()(torch.tensor(image())).detach().numpy(), b, atol=1e-6)


def test_pytorchs_safetensors_files_load_and_ours_load_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    theirs, ours = build(torch.nn), build(nn)
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours.load_state_dict(tg.load(tmp_path / "theirs.safetensors"))
    tg.save(ours, tmp_path / "ours.safetensors")
    back = files.load_file(tmp_path / "ours.safetensors")
    assert set(back) == set(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert back[name].dtype == value.dtype and torch.equal(back[name], value)


def test_bfloat16_weights_load_as_their_float32_values(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    weights = torch.randn(3, 5).to(torch.bfloat16)
    files.save_file({"weight": weights}, tmp_path / "half.safetensors")
    layer = nn.Linear(5, 3, bias=False)
    for state in ({"weight": weights}, tg.load(tmp_path / "half.safetensors")):
        nn.init.zeros_(layer.weight)
        layer.load_state_dict(state)
        assert np.array_equal(layer.weight.data, weights.float().numpy())


def test_all_or_nothing_and_every_problem_is_listed():
    net = build(nn)
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    state = {k: np.full_like(v, 3) for k, v in before.items()}
    del state["4.bias"]
    state["9.weight"] = np.zeros(1)
    state["0.weight"] = np.zeros((3, 1, 3, 3), "f4")
    state["5.weight"] = "four"
    state["1.num_batches_tracked"] = np.array(1.5)
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    for part in ("nothing was loaded into Sequential", "missing keys: 4.bias",
                 "unexpected keys: 9.weight", "0.weight: shape (3, 1, 3, 3) in the state dict, "
                 "(3, 2, 3, 3) in the module", "5.weight: expected a tensor, got str",
                 "1.num_batches_tracked: dtype float64 in the state dict, int64"):
        assert part in text, text
    for name, value in net.state_dict().items():
        assert np.array_equal(value.numpy(), before[name])


def test_not_strict_loads_what_fits_by_name_but_never_a_wrong_shape():
    net = nn.Linear(2, 2)
    result = net.load_state_dict({"weight": np.ones((2, 2)), "extra": np.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["extra"]
    assert (net.weight.data == 1).all() and net.weight.dtype == np.float32
    with pytest.raises(RuntimeError, match=r"weight: shape \(3, 2\)"):
        net.load_state_dict({"weight": np.ones((3, 2))}, strict=False)
    with pytest.raises(TypeError, match="expected a mapping"):
        net.load_state_dict([1])


def test_loading_makes_a_graph_that_used_the_old_values_stale():
    net = nn.Linear(2, 2)
    loss = (net(tg.ones((1, 2))) ** 2).sum()
    net.load_state_dict({"weight": np.ones((2, 2)), "bias": np.ones(2)})
    with pytest.raises(RuntimeError, match="modified after it was used"):
        loss.backward()
