"""What the benchmarks say of their measurements: ratios, shares, targets, tables and the page."""

from __future__ import annotations

import math

import pytest

from benchmarks import (
    child,
    jit_targets,
    operations,
    overhead,
    page,
    report,
    rows,
    tables,
    targets,
    workloads,
)
from benchmarks.results import JIT, Ceiling, Measurement, Result

ROWS = rows.rows(quick=True)
MACRO = [r for r in ROWS if r.group == "macro"]
MICRO = [r for r in ROWS if r.group == "micro"]


def _report(results, peers):
    return report.Report(results, Ceiling(100.0, 10.0), peers, 3, 2, False, "command",
                         (0.0, 0.0))


def _result(row, ours, **peers):
    sides = {s.replace("_", "-"): Measurement([t]) for s, t in peers.items()}
    return Result(row, {"tinygen": Measurement([ours]), **sides})


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
    result = Result(ROWS[0], {"tinygen": Measurement([2.0, 1.0, 4.0]),
                                     "torch": Measurement([6.0, 3.0, 4.0])})
    assert result.ratio("torch") == 3.0
    assert result.paired_ratio("torch") == 3.0
    assert result.sides["torch"].typical == 4.0
    assert _result(ROWS[0], 1.0, torch=3.0, jax=2.0).best_peer() == "jax"


def test_rows_that_others_disturbed_are_marked():
    """What counts is what the machine did in the fastest round."""
    quiet = Measurement([3.0, 1.0, 2.0], [1.5, 0.0, 0.9])
    shared = Measurement([3.0, 1.0, 2.0], [0.0, 0.5, 0.0])
    assert not quiet.disturbed and shared.disturbed and not Measurement([1.0]).disturbed
    results = [Result(ROWS[0], {"tinygen": quiet}),
               Result(ROWS[1], {"tinygen": shared})]
    (_, lines), = tables.tables(_report(results, []))
    shared.rounds = [9.0, 3.0, 6.0]
    both = Result(ROWS[0], {"tinygen": quiet, "torch": shared})
    assert both.ratio("torch") == 3.0 and targets.verdict(both, Ceiling()) is None
    (summary,) = targets.summaries([both], Ceiling())
    assert (summary.met, summary.rows, summary.disturbed, summary.found) == (0, 1, 1, "-")
    assert [line[0] for line in lines] == [ROWS[0].name, ROWS[1].name + " *"]
    assert any(text.startswith("* 1 of 2 rows") for text in report.footnote(_report(results, [])))


def test_shares_are_of_what_limits_the_row():
    limit = Ceiling(100.0, 10.0)
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
    found = {s.what: s.met for s in targets.summaries([result], Ceiling())}
    whole, above = list(found.values())[-2:]
    assert (whole, above) == (1, 0)


def test_targets_are_met_by_time_or_on_4m_elements_by_bandwidth():
    (row,) = [r for r in rows.rows() if r.name == "tanh-4M-backward"]
    limit = Ceiling(100.0, 10.0)
    fast = row.bytes / 10e9 / 0.9
    assert targets.verdict(_result(row, 1.0, torch=3.1), limit) is True
    assert targets.verdict(_result(row, 1.0, torch=2.9), limit) is False
    assert targets.verdict(_result(row, fast, torch=fast), limit) is True
    assert targets.verdict(_result(row, 1.0, jax=9.0), limit) is None


def test_convolutions_have_a_target_of_their_mean():
    chosen = [r for r in rows.rows() if r.name.startswith("conv") and r.target is not None]
    results = [_result(r, 1.0, torch=1.2 + 0.2 * (i % 2)) for i, r in enumerate(chosen)]
    mean = targets.summaries(results, Ceiling())[-1]
    assert mean.what == "convolutions, geometric mean"
    assert mean.met == (math.prod(1.2 + 0.2 * (i % 2) for i in range(len(results)))
                        >= 1.3 ** len(results))


def test_lines_have_a_cell_for_each_column():
    results = [_result(ROWS[0], 1.0, torch=3.0, torch_compile=2.0), _result(MICRO[0], 1.0),
               Result(MICRO[1])]
    for title, lines in tables.tables(_report(results, ["torch", "torch-compile"])):
        assert all(len(line) == len(title) for line in lines)
        assert tables.plain_table(title, lines)
    (model, *_), = tables.tables(_report(results[:1], ["torch", "torch-compile"]))[0][1],
    assert "2.00 torch-compile" in model and model[-1] == "2.0 met"


def test_jit_is_judged_against_the_best_peer():
    def row(name):
        return next(r for r in ROWS if r.name == name)
    fast = _result(row("micro-mlp"), 2.0, **{JIT: 1.0}, torch=4.0, jax=3.0)
    slow = _result(row("translation"), 2.0, **{JIT: 1.0}, torch=1.1, jax=3.0)
    rest = _result(row("mlp-vae"), 2.0, **{JIT: 1.0}, torch=2.0)
    alone = _result(row("char-gpt"), 2.0, **{JIT: 1.0})
    assert [jit_targets.jit_verdict(r) for r in (fast, slow, rest, alone)] == [True, False, None,
                                                                               None]
    assert fast.best_peer() == "jax" and fast.ratio("torch") == 2.0
    found = {s.what: s for s in jit_targets.jit_summaries([fast, slow, rest, alone])}
    assert found["micro-mlp"].found == "3.00 (jax)" and found["micro-mlp"].met == 1
    assert found["translation"].found == "1.10 (torch)" and found["translation"].met == 0
    mean = found["macro rows, geometric mean"]
    assert mean.found == f"{(3.0 * 1.1 * 2.0) ** (1 / 3):.2f}" and mean.met == 1
    assert list(found) == ["micro-mlp", "translation", "macro rows, geometric mean"]


def test_jit_is_judged_by_its_start_and_its_memory():
    result = _result(ROWS[0], 1.0, **{JIT: 1.0}, jax=1.0)
    ours, eager, jax = (result.sides[s] for s in (JIT, "tinygen", "jax"))
    ours.cold, ours.two_steps, jax.two_steps = 1.0, 0.6, 4.0
    ours.memory, eager.memory, jax.memory = 90, 100, 300
    ours.above_idle, eager.above_idle, jax.above_idle = 30, 20, 60
    found = [(s.target, s.found, s.met) for s in jit_targets.jit_summaries([result])[-4:]]
    assert found == [("at most 0.33", "0.25", 1), ("at most 0.50", "0.60", 0),
                     ("at most 1.00", "0.90", 1), ("at most 1.00", "1.50", 0)]


def test_jit_has_columns_of_its_own():
    results = [_result(ROWS[0], 2.0, **{JIT: 1.0}, torch=4.0), _result(ROWS[1], 1.0, torch=2.0),
               _result(MICRO[0], 1.0, torch=1.0)]
    results[0].sides[JIT].two_steps, results[0].sides[JIT].cold = 0.4, 2.5
    models, single, _, goals = tables.tables(_report(results, ["torch"]))
    assert models[0][-4:] == ["tinygen / jit", "best peer / jit", "two steps s", "jit target"]
    assert models[1][0][-4:] == ["2.00", "4.00 torch", "0.40 (cold 2.50)", "3.00 met"]
    assert models[1][1][-4:] == ["-", "-", "-", ""]
    assert f"{JIT} min, median" in models[0] and f"{JIT} min, median" not in single[0]
    assert all(len(line) == len(title) for title, lines in (models, single) for line in lines)
    assert goals[0][0] == "target: best peer / tinygen-jit"


def test_the_page_has_all_tables_and_a_chart(tmp_path):
    pytest.importorskip("matplotlib")
    results = [_result(r, 1.0, torch=1.0 + i % 3, jax=2.0,
                       **({JIT: 0.8} if r.group == "macro" else {})) for i, r in enumerate(ROWS)]
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


def test_a_row_that_a_peer_does_not_have_is_told_in_words(monkeypatch):
    def load(row):
        raise operations.Unsupported("there is no such thing")
    monkeypatch.setattr(workloads, "load", load)
    assert child.Child("tinygen").load("micro-mlp", True) == {
        "unsupported": "there is no such thing"}
    result = Result(ROWS[0], {"tinygen": Measurement([1.0])},
                           unsupported={"jax": "there is no such thing"})
    lines = report.footnote(_report([result], ["jax"]))
    assert "jax: there is no such thing (micro-mlp)" in lines
