"""The benchmarks compare like with like, count what they say they count, and survive a bad side."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import overhead, report, rows, runner, workloads
from benchmarks.__main__ import main

ROWS = rows.rows(quick=True)
MACRO = [r for r in ROWS if r.group == "macro"]


@pytest.mark.parametrize("row", MACRO, ids=lambda r: r.name)
def test_flops_and_parameters_agree_with_torch(row):
    """PyTorch's own counter gives the FLOPs of one step of the same model."""
    pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.peers import torch_workloads
    step, parameters = torch_workloads.load(row)
    with FlopCounterMode(display=False) as counter:
        assert math.isfinite(step())
    assert counter.get_total_flops() == row.flops
    assert workloads.load(row)[1] == parameters


@pytest.mark.parametrize("row", [r for r in ROWS if r.options.get("backward")],
                         ids=lambda r: r.name)
def test_single_operations_are_the_same_operation(row):
    """Equal inputs give equal results on both sides."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_workloads

    draw = np.random.default_rng(1)
    o = row.options
    xs = [draw.standard_normal(s, np.float32) for s in o["shapes"]]
    ours = workloads._operation(o["op"], o["shapes"])(*map(workloads.tg.asarray, xs))
    theirs = torch_workloads._operation(o["op"], o["shapes"])(*map(torch.from_numpy, xs))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-3)


def test_a_run_reports_every_side_and_every_round(tmp_path, capsys):
    """The command measures in child processes and leaves its files."""
    out = tmp_path / "out.json"
    status = main(["--filter", "micro-mlp", "--peers", "nosuch", "--rounds", "2", "--seconds",
                   "0.01", "--threads", "1", "--json", str(out),
                   "--markdown", str(tmp_path / "page.md")])
    shown = capsys.readouterr()
    assert status == 0
    assert "skipping nosuch: unknown; known peers: torch" in shown.err
    (row,) = json.loads(out.read_text())["rows"]
    side = row["sides"]["tinygen"]
    assert len(side["rounds"]) == 2 and min(side["rounds"]) > 0
    assert side["parameters"] == 2 * 16 + 16 + 16 * 16 + 16 + 16 + 1
    assert side["memory"] > 10e6 and side["first_step"] > 0
    assert "MLP 2-16-16-1" in (tmp_path / "page.md").read_text()


def test_a_side_that_dies_is_named_and_does_not_stop_the_others(monkeypatch):
    monkeypatch.setitem(runner.PEERS, "broken", "numpy")
    (result,), _ = runner.run([ROWS[0]], ["broken"], rounds=1, seconds=0.001, threads=1)
    assert list(result.sides) == ["tinygen"]
    assert result.failures["broken"].startswith("broken ended with status 1: KeyError")
    assert result.ratio("broken") is None


def test_filters_choose_groups_and_names():
    assert rows.select([], quick=True) == MACRO
    assert {r.group for r in rows.select(["micro"])} == {"micro"}
    assert [r.name for r in rows.select(["micro-mlp", "conv2d-b"])] == ["micro-mlp",
                                                                        "conv2d-backward"]
    assert rows.select(["nosuch"]) == []


def test_ratio_is_peer_time_over_ours():
    result = runner.Result(ROWS[0], {"tinygen": runner.Measurement([2.0, 1.0, 4.0]),
                                     "torch": runner.Measurement([6.0, 3.0, 4.0])})
    assert result.ratio("torch") == 3.0
    assert result.paired_ratio("torch") == 3.0
    assert result.sides["torch"].typical == 4.0


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
