"""The benchmarks compare like with like, count what they say they count, and survive a bad side."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks import (
    child,
    macro_rows,
    operations,
    rows,
    runner,
    workloads,
)
from benchmarks.__main__ import main
from benchmarks.results import JIT, OURS, Measurement, Result
from tinygen.jit import ceilings

ROWS = rows.rows(quick=True)
MACRO = [r for r in ROWS if r.group == "macro"]
MODELS = [r for r in ROWS if r.group != "micro"]
MICRO = [r for r in ROWS if r.group == "micro"]
OPERATIONS = [r for r in MICRO if r.name.endswith("-backward") and r.options["op"] != "overhead"]


def names(row):
    return row.name


def without_chance(row):
    """The row without dropout, which each side draws in its own way."""
    return dataclasses.replace(row, options={
        **row.options, **({"dropout": 0.0} if "dropout" in row.options else {})})


# -- the same work on both sides ------------------------------------------------------------------


def draw_the_same_noise(monkeypatch, torch):
    """Both sides draw the same standard normal numbers, each from the start of one stream."""
    tg = workloads.tg
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)

    def draw(shape, **_):
        return tg.asarray(ours.standard_normal(tuple(shape), np.float32))

    def randn(*shape):
        return torch.from_numpy(theirs.standard_normal(shape, np.float32))
    monkeypatch.setattr(tg.random, "normal", draw)
    monkeypatch.setattr(torch, "randn", randn)
    monkeypatch.setattr(torch, "randn_like", lambda x: randn(*x.shape))


@pytest.mark.parametrize("row", MACRO, ids=names)
def test_both_sides_train_the_same_model(row, monkeypatch):
    """Equal weights and equal noise give equal losses, before and after an update."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_workloads
    row = without_chance(row)
    ours, theirs = workloads.load(row), torch_workloads.load(row)
    assert ours.parameters == theirs.parameters > 0
    learnt = [p for m in ours.modules for p in m.parameters()]
    copies = [p for m in theirs.modules for p in m.parameters()]
    with torch.no_grad():
        for p, copy in zip(learnt, copies, strict=True):
            copy.copy_(torch.from_numpy(p.detach().numpy().copy()))
    draw_the_same_noise(monkeypatch, torch)
    for tolerance in (1e-4, 2e-2):       # Adam's first steps make signs of rounding errors
        a, b = ours.step(), theirs.step()
        assert math.isfinite(a)
        np.testing.assert_allclose(a, b, rtol=tolerance)


@pytest.mark.parametrize("row", [r for r in MACRO if r.name != "dcgan-64x64-w64"], ids=names)
def test_jit_trains_the_same_model(row):
    """Recorded and replayed, a step gives the losses of the eager side, draws included."""
    eager, jitted = (child.Child(side) for side in OURS)
    assert jitted.load(row.name, quick=True)["parameters"] == eager.load(
        row.name, quick=True)["parameters"]
    losses = []
    for side in (eager, jitted):
        workloads.tg.manual_seed(1)
        losses.append([side.work.step() for _ in range(2)])
    np.testing.assert_allclose(*losses, rtol=1e-2)      # Adam makes signs of rounding errors


@pytest.mark.parametrize("row", MACRO, ids=names)
def test_flops_agree_with_torch(row):
    """PyTorch's own counter gives the FLOPs of one step of the same model.

    It does not see LSTMs, nor attention unless it is written out, and then counts the pairs too
    that a causal mask hides.
    """
    pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.peers import torch_workloads
    work = torch_workloads.load(row)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work.step()
    assert counter.get_total_flops() == row.flops + _unlike(row.options)


def _unlike(o):
    """What the counter counts and the formula does not, less the other way round."""
    flops, n = macro_rows.flops, o["batch"]
    if o["model"] == "lstm-vae":
        sizes = (o["embedding"], o["embedding"] + o["latent"])
        return -3 * sum(flops.recurrent(o["length"], n, i, o["hidden"], 4) for i in sizes)
    if o["model"] not in ("gpt", "translation"):
        return 0
    length, head = o.get("block", o.get("target")), o["width"] // o["heads"]
    full, seen = (flops.attention(n, o["heads"], length, length, head, c) for c in (False, True))
    return 3 * o["layers"] * (full - seen)


PRODUCTS = ("matmul", "linear", "conv2d", "conv_transpose2d", "attention")


@pytest.mark.parametrize("row", [r for r in rows.rows() if r.flops and r.options.get("op")
                                 in PRODUCTS], ids=names)
def test_flops_of_operations_agree_with_torch(row):
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.peers import torch_workloads
    o = row.options
    xs = [torch.empty(s, device="meta", requires_grad=o["backward"]) for s in o["shapes"]]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        op, _ = operations.operation(torch_workloads.LIBRARY, {**o, "padded": False})
        y = op(*xs)
        if o["backward"]:
            y.backward(torch.empty_like(y))
    expected = row.flops
    if o.get("causal"):                                 # hidden pairs: the counter takes them
        length = o["shapes"][0][2]
        expected = expected * 2 * length // (length + 1)
    assert counter.get_total_flops() == expected


@pytest.mark.parametrize("row", OPERATIONS, ids=names)
def test_single_operations_are_the_same_operation(row):
    """Equal inputs and parameters give equal results and gradients on both sides."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_workloads
    o, tg = row.options, workloads.tg
    if o["op"] == "dropout":
        pytest.skip("each side draws in its own way")
    xs = operations.arrays(o)
    ours, own = operations.operation(workloads.LIBRARY, o)
    theirs, their_own = operations.operation(torch_workloads.LIBRARY, o)
    for p, copy in zip(own, their_own, strict=True):
        copy.data.copy_(torch.from_numpy(p.detach().numpy().copy()))
    a = [workloads.LIBRARY.leaf(x) for x in xs]
    b = [torch_workloads.LIBRARY.leaf(x) for x in xs]
    y, z = ours(*a), theirs(*b)
    g = np.random.default_rng(1).standard_normal(y.shape, np.float32)
    y.backward(tg.asarray(np.asarray(g)))
    z.backward(torch.from_numpy(np.asarray(g)))
    pairs = [(y, z.detach()), *[(p.grad, q.grad) for p, q in zip([*a, *own], [*b, *their_own])]]
    for found, expected in pairs:
        scale = max(1.0, float(expected.abs().max()))
        np.testing.assert_allclose(found.detach().numpy(), expected.numpy(), rtol=1e-3,
                                   atol=1e-4 * scale)


def test_jax_runs_the_same_operations():
    """Where JAX is installed: equal arrays give equal results, images in JAX's layout."""
    pytest.importorskip("jax")
    from benchmarks.peers import jax_operations
    for row in OPERATIONS:
        o = row.options
        if o["op"] in ("dropout", "lstm", "gru"):      # draw their masks and weights themselves
            continue
        op, xs = jax_operations.operation(o)
        found = np.asarray(op(*xs))
        ours, _ = operations.operation(workloads.LIBRARY, o)
        expected = ours(*map(workloads.tg.asarray, operations.arrays(o))).numpy()
        if o["op"] in jax_operations.MAPS:
            found = found.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3, err_msg=row.name)


@pytest.mark.parametrize("side", ["tinygen", "torch"])
def test_every_row_runs(side):
    """All rows build and take a step whose loss, if there is one, is finite."""
    if side == "torch":
        pytest.importorskip("torch")
    one = child.Child(side)
    for row in [r for r in ROWS if r.group != "macro"]:     # training steps: tested above
        answer = one.load(row.name, quick=True)
        assert set(answer) == {"parameters", "version", "loss", "seconds", "call"}, row.name
    assert one.steps(1)["seconds"] > 0


def test_sampling_with_a_cache_is_sampling_without():
    """torch's peer decodes with its cache as the whole forward pass would."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_text
    model = torch_text.GPT(11, 8, 2, 2, 16)
    tokens = torch.arange(12).reshape(2, 6) % 11
    with torch.no_grad():
        whole, caches = model(tokens), model.caches(2)
        parts = [model(tokens[:, :3], caches, 0), *(model(tokens[:, t:t + 1], caches, t)
                                                     for t in range(3, 6))]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert torch_text.sample(model, model, tokens, 2, 0.8).shape == (2, 8)


# -- the run ---------------------------------------------------------------------------------------


def test_a_run_reports_every_side_and_every_round(tmp_path, capsys):
    """The command measures in child processes and leaves its files."""
    out = tmp_path / "out.json"
    status = main(["--filter", "micro-mlp", "--filter", "tanh-64x784-forward", "--peers", "nosuch",
                   "--rounds", "2", "--seconds", "0.01", "--threads", "1", "--json", str(out),
                   "--markdown", str(tmp_path / "page.md")])
    shown = capsys.readouterr()
    assert status == 0
    assert "skipping nosuch: unknown; known peers: torch, torch-compile, jax" in shown.err
    data = json.loads(out.read_text())
    model, single = data["rows"]
    assert data["sgemm_gflops"] > 0 and data["copy_gb_per_s"] > 0
    side = model["sides"]["tinygen"]
    assert len(side["rounds"]) == 2 and min(side["rounds"]) > 0
    assert all(n >= 0 for n in side["others"])
    assert side["parameters"] == 2 * 16 + 16 + 16 * 16 + 16 + 16 + 1
    assert side["memory"] > 10e6 and side["first_step"] > side["building"] > 0
    assert side["memory"] - side["above_idle"] > 10e6
    jitted = model["sides"][JIT]
    assert jitted["parameters"] == side["parameters"] and len(jitted["rounds"]) == 2
    assert jitted["two_steps"] > 0 and jitted["cold"] > 0 and side["cold"] == 0
    assert model["jit"]["target"] == 3.0 and model["jit"]["ratio_to_best_peer"] is None
    assert model["jit"]["ratio_to_eager"] == side["min"] / jitted["min"]
    assert JIT not in single["sides"]
    assert single["sides"]["tinygen"]["share_of_ceiling"] > 0
    assert single["sides"]["tinygen"]["memory"] == 0      # its process is shared
    assert "MLP 2-16-16-1" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("row", [MACRO[0], MICRO[0]], ids=names)
def test_a_side_that_dies_is_named_and_does_not_stop_the_others(row, monkeypatch):
    monkeypatch.setitem(runner.PEERS, "broken", "numpy")
    (result,), _ = runner.run([row], ["broken"], runner.Plan(1, 0.001, 1, quick=True, jit=False))
    assert list(result.sides) == ["tinygen"]
    assert result.failures["broken"].startswith("broken ended with status 1: KeyError")
    assert result.ratio("broken") is None


def test_a_cold_cache_has_all_kernels_but_generated_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "warm"))
    folder = tmp_path / "warm" / "kernels" / "py3"
    folder.mkdir(parents=True)
    for name in ("rows.softmax-1.nbc", "loops.fused_0123456789abcdef-3.nbc"):
        (folder / name).write_text("code")
    runner._link_kernels(tmp_path / "cold")
    found = [f for f in (tmp_path / "cold").rglob("*") if not f.is_dir()]
    assert [f.name for f in found] == ["rows.softmax-1.nbc"] and found[0].read_text() == "code"


def test_sides_with_another_model_are_refused():
    result = Result(ROWS[0], {"tinygen": Measurement([1.0], parameters=3),
                                     "torch": Measurement([1.0], parameters=4)})
    runner._check_same_model(result)
    assert list(result.sides) == ["tinygen"]
    assert "4 parameters, tinygen has 3" in result.failures["torch"]


def test_the_machines_limits_are_measured():
    assert ceilings.gflops(0.001) > 0.1
    assert ceilings.bandwidth(0.001) > 0.1
    first = ceilings.ceilings()
    assert ceilings.ceilings() == first
    assert all(now >= then for now, then in zip(ceilings.ceilings(again=True), first, strict=True))


def test_floors_of_a_step_add_up(tmp_path, capsys):
    """The products of the formula are in the program; a page and the tables show them."""
    from benchmarks import floor
    for row in [r for r in MACRO if r.name in ("lstm-vae", "mlp-gan")]:
        found = floor.measure(row, 0.0)
        products = sum(c.flops for c, r in zip(found.found, found.program.rows, strict=True)
                       if r.parts or not (r.op.elementwise or r.op.writes))
        assert row.flops <= products < 1.03 * row.flops
    assert 0 < found.least == sum(c.least for c in found.found) and found.step > 0
    assert sum(n for _, n, _, _ in floor.by_operation(found)) == len(found.program.rows)
    assert floor.main(["--filter", "micro-mlp", "--quick", "--markdown",
                       str(tmp_path / "floor.md")]) == 0
    shown = capsys.readouterr().out
    assert "floor / step" in shown and "between rows" in shown
    assert "| MLP 2-16-16-1, batch 32, Adam |" in (tmp_path / "floor.md").read_text()
    assert floor.main(["--filter", "nosuch"]) == 1
