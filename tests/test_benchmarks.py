"""The benchmarks compare like with like, count what they say they count, and survive a bad side."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks import (
    ceiling,
    child,
    macro_rows,
    operations,
    overhead,
    page,
    report,
    rows,
    runner,
    tables,
    targets,
    workloads,
)
from benchmarks.__main__ import main

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
        assert set(answer) == {"parameters", "version", "loss", "seconds"}, row.name
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
    assert single["sides"]["tinygen"]["share_of_ceiling"] > 0
    assert single["sides"]["tinygen"]["memory"] == 0      # its process is shared
    assert "MLP 2-16-16-1" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("row", [MACRO[0], MICRO[0]], ids=names)
def test_a_side_that_dies_is_named_and_does_not_stop_the_others(row, monkeypatch):
    monkeypatch.setitem(runner.PEERS, "broken", "numpy")
    (result,), _ = runner.run([row], ["broken"], runner.Plan(1, 0.001, 1, quick=True))
    assert list(result.sides) == ["tinygen"]
    assert result.failures["broken"].startswith("broken ended with status 1: KeyError")
    assert result.ratio("broken") is None


def test_a_row_that_a_peer_does_not_have_is_told_in_words(monkeypatch):
    def load(row):
        raise operations.Unsupported("there is no such thing")
    monkeypatch.setattr(workloads, "load", load)
    assert child.Child("tinygen").load("micro-mlp", True) == {
        "unsupported": "there is no such thing"}
    result = runner.Result(ROWS[0], {"tinygen": runner.Measurement([1.0])},
                           unsupported={"jax": "there is no such thing"})
    lines = report.footnote(_report([result], ["jax"]))
    assert "jax: there is no such thing (micro-mlp)" in lines


def test_sides_with_another_model_are_refused():
    result = runner.Result(ROWS[0], {"tinygen": runner.Measurement([1.0], parameters=3),
                                     "torch": runner.Measurement([1.0], parameters=4)})
    runner._check_same_model(result)
    assert list(result.sides) == ["tinygen"]
    assert "4 parameters, tinygen has 3" in result.failures["torch"]


def test_the_machines_limits_are_measured():
    assert ceiling.gflops(0.001) > 0.1
    assert ceiling.bandwidth(0.001) > 0.1


# -- the figures -----------------------------------------------------------------------------------


def _report(results, peers):
    return report.Report(results, runner.Ceiling(100.0, 10.0), peers, 3, 2, False, "command",
                         (0.0, 0.0))


def _result(row, ours, **peers):
    sides = {s.replace("_", "-"): runner.Measurement([t]) for s, t in peers.items()}
    return runner.Result(row, {"tinygen": runner.Measurement([ours]), **sides})


def test_filters_choose_groups_and_names():
    assert rows.select([], quick=True) == ROWS
    assert rows.select(["macro"], quick=True) == MACRO
    assert {r.group for r in rows.select(["micro", "sampling"])} == {"micro", "sampling"}
    assert [r.name for r in rows.select(["micro-mlp", "tanh-4M-b"])] == ["micro-mlp",
                                                                          "tanh-4M-backward"]
    assert rows.select(["nosuch"]) == []
    assert len({r.name for r in ROWS}) == len(ROWS)
    assert [r.name for r in rows.rows()] == [r.name for r in ROWS]


def test_ratio_is_peer_time_over_ours():
    result = runner.Result(ROWS[0], {"tinygen": runner.Measurement([2.0, 1.0, 4.0]),
                                     "torch": runner.Measurement([6.0, 3.0, 4.0])})
    assert result.ratio("torch") == 3.0
    assert result.paired_ratio("torch") == 3.0
    assert result.sides["torch"].typical == 4.0
    assert _result(ROWS[0], 1.0, torch=3.0, jax=2.0).best_peer() == "jax"


def test_rows_that_others_disturbed_are_marked():
    """What counts is what the machine did in the fastest round."""
    quiet = runner.Measurement([3.0, 1.0, 2.0], [1.5, 0.0, 0.9])
    shared = runner.Measurement([3.0, 1.0, 2.0], [0.0, 0.5, 0.0])
    assert not quiet.disturbed and shared.disturbed and not runner.Measurement([1.0]).disturbed
    results = [runner.Result(ROWS[0], {"tinygen": quiet}),
               runner.Result(ROWS[1], {"tinygen": shared})]
    (_, lines), = tables.tables(_report(results, []))
    shared.rounds = [9.0, 3.0, 6.0]
    both = runner.Result(ROWS[0], {"tinygen": quiet, "torch": shared})
    assert both.ratio("torch") == 3.0 and targets.verdict(both, runner.Ceiling()) is None
    (summary,) = targets.summaries([both], runner.Ceiling())
    assert (summary.met, summary.rows, summary.disturbed, summary.found) == (0, 1, 1, "-")
    assert [line[0] for line in lines] == [ROWS[0].name, ROWS[1].name + " *"]
    assert any(text.startswith("* 1 of 2 rows") for text in report.footnote(_report(results, [])))


def test_shares_are_of_what_limits_the_row():
    limit = runner.Ceiling(100.0, 10.0)
    flops = rows.Row("a", "", "micro", flops=50 * 10 ** 9)
    memory = rows.Row("b", "", "micro", bytes=8 * 10 ** 9)
    assert _result(flops, 1.0).share("tinygen", limit) == 0.5
    assert _result(memory, 2.0).share("tinygen", limit) == 0.4
    assert _result(rows.Row("c", "", "micro"), 1.0).share("tinygen", limit) is None


def test_memory_is_compared_whole_and_above_the_library():
    result = _result(ROWS[0], 1.0, torch=1.0)
    result.sides["tinygen"].memory, result.sides["tinygen"].above_idle = 50, 40
    result.sides["torch"].memory, result.sides["torch"].above_idle = 100, 20
    assert result.memory_ratio("torch") == 0.5
    assert result.memory_ratio("torch", above_idle=True) == 2.0
    found = {s.what: s.met for s in targets.summaries([result], runner.Ceiling())}
    whole, above = list(found.values())[-2:]
    assert (whole, above) == (1, 0)


def test_targets_are_met_by_time_or_on_4m_elements_by_bandwidth():
    (row,) = [r for r in rows.rows() if r.name == "tanh-4M-backward"]
    limit = runner.Ceiling(100.0, 10.0)
    fast = row.bytes / 10e9 / 0.9
    assert targets.verdict(_result(row, 1.0, torch=3.1), limit) is True
    assert targets.verdict(_result(row, 1.0, torch=2.9), limit) is False
    assert targets.verdict(_result(row, fast, torch=fast), limit) is True
    assert targets.verdict(_result(row, 1.0, jax=9.0), limit) is None


def test_convolutions_have_a_target_of_their_mean():
    chosen = [r for r in rows.rows() if r.name.startswith("conv") and r.target is not None]
    results = [_result(r, 1.0, torch=1.2 + 0.2 * (i % 2)) for i, r in enumerate(chosen)]
    mean = targets.summaries(results, runner.Ceiling())[-1]
    assert mean.what == "convolutions, geometric mean"
    assert mean.met == (math.prod(1.2 + 0.2 * (i % 2) for i in range(len(results)))
                        >= 1.3 ** len(results))


def test_lines_have_a_cell_for_each_column():
    results = [_result(ROWS[0], 1.0, torch=3.0, torch_compile=2.0), _result(MICRO[0], 1.0),
               runner.Result(MICRO[1])]
    for title, lines in tables.tables(_report(results, ["torch", "torch-compile"])):
        assert all(len(line) == len(title) for line in lines)
        assert tables.plain_table(title, lines)
    (model, *_), = tables.tables(_report(results[:1], ["torch", "torch-compile"]))[0][1],
    assert "2.00 torch-compile" in model and model[-1] == "2.0 met"


def test_the_page_has_all_tables_and_a_chart(tmp_path):
    pytest.importorskip("matplotlib")
    results = [_result(r, 1.0, torch=1.0 + i % 3, jax=2.0) for i, r in enumerate(ROWS)]
    page.write_markdown(_report(results, ["torch", "jax"]), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "![Speed of tinygen relative to each peer](page.png)" in text
    assert all(f"| {r.title if r.group != 'micro' else r.name} |" in text for r in ROWS)
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert not page.write_chart(_report(results[:1], ["nosuch"]), tmp_path / "none.png")


@pytest.mark.parametrize(("seconds", "text"), [
    (1.234, "1.23 s"), (0.0123, "12.3 ms"), (845e-6, "845 us"), (5e-8, "50 ns")])
def test_durations_have_three_figures(seconds, text):
    assert report.duration(seconds) == text


def test_overhead_check_fails_above_the_limit(monkeypatch, capsys):
    """A tinygen that is slower than the budget allows is refused, after three attempts."""
    slow, good = [overhead.Row("op", 1.0, 8.0)] * 3, [overhead.Row("op", 1.0, 3.0)] * 3
    measured = []

    def forward(repeats):
        measured.append(repeats)
        return slow
    monkeypatch.setattr(overhead, "backward_rows", lambda repeats: good)
    monkeypatch.setattr(overhead, "forward_rows", forward)
    assert overhead.main(["--check"]) == 1
    assert len(measured) == overhead.ATTEMPTS
    assert "forward: tinygen adds 7.00 times" in capsys.readouterr().err
    monkeypatch.setattr(overhead, "forward_rows", lambda repeats: good)
    assert overhead.main(["--check"]) == 0


def test_overhead_measures_both_directions():
    forward, backward = overhead.forward_rows(1, number=10), overhead.backward_rows(1, chains=1)
    assert len(forward) == len(overhead.FORWARD) and len(backward) == len(overhead.BACKWARD)
    assert all(r.numpy > 0 and r.tinygen > 0 for r in forward + backward)
