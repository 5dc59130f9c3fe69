"""examples/run_all.py: runs rows, checks their targets, and writes only its table of the page."""

import json
import runpy
import string
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "run_all.py"
PAGE = """# Results

Words before | with a bar.

<!-- rows: written by examples/run_all.py -->

| model | data | command | result | time |
|---|---|---|---|---|
| old | d | `python examples/old.py` | 1 | 3 s |
| new | d | `python examples/new.py` | 1 | 3 s |

<!-- end of the rows -->

| another | table |
|---|---|
"""


@pytest.fixture
def run_all():
    return runpy.run_path(str(SCRIPT))


def test_every_example_has_a_row_and_every_row_an_example(run_all):
    rows = run_all["load_rows"]()
    written = {row["example"] for row in rows if "example" in row}
    there = {path.name for path in SCRIPT.parent.glob("*.py")} - {"run_all.py"}
    assert written == there
    assert len({(row["model"], row["command"]) for row in rows}) == len(rows)


def test_rows_say_what_the_runner_understands(run_all):
    known = {"example", "arguments", "command", "needs", "model", "data", "result", "targets",
             "pictures", "minutes"}
    for row in run_all["load_rows"]():
        assert set(row) <= known, row
        assert "|" not in row["model"] + row["data"] + row["result"], row
        for _, field, _, _ in string.Formatter().parse(row["result"]):
            assert field is None or field.isidentifier(), (row["command"], field)
        for target in row.get("targets", []):
            assert "<" in target or ">" in target, target


def test_figures_with_signs_in_their_names_are_compared(run_all):
    row = {"command": "c", "targets": ["Recall@20 > popularity Recall@20 + 0.1", "loss <= 2"]}
    figures = {"Recall@20": 0.5, "popularity Recall@20": 0.3, "loss": 2.5}
    missed = run_all["missed_targets"](row, figures)
    assert len(missed) == 1 and "loss <= 2" in missed[0] and "loss = 2.5" in missed[0]


def test_the_page_keeps_everything_but_the_lines_that_were_run(run_all, tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    row = {"model": "new", "data": "d", "command": "python examples/new.py",
           "result": "{Recall_20:.1%}"}
    line = run_all["table_line"](row, {"Recall@20": 0.5}, 200.0)
    assert "| 50.0% | 3 min of CPU time" in line
    run_all["write_page"]({("new", "python examples/new.py"): line}, page)
    text = page.read_text()
    assert text == PAGE.replace("| new | d | `python examples/new.py` | 1 | 3 s |", line)
    assert list(tmp_path.iterdir()) == [page]


def test_an_examples_figures_are_what_its_main_returns(run_all, tmp_path):
    done = run_all["run"]("python examples/neuron.py --quick", tmp_path)
    assert done["figures"]["network"] > 0.8 and done["cpu"] > 0
    assert (tmp_path / "neuron.png").is_file()      # --out reached it


def test_a_training_runs_figures_are_its_last_metrics(run_all, tmp_path):
    done = run_all["run"]("tinygen train vae --data digits --epochs 2 --quiet",
                          tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert done["figures"]["eval_loss"] == losses[-1] and len(losses) == 2
    with pytest.raises(RuntimeError, match="failed: tinygen train nothing"):
        run_all["run"]("tinygen train nothing", tmp_path / "other")


def test_it_lists_rows_and_names_missing_data(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    said = subprocess.run([sys.executable, str(SCRIPT), "--list", "sentiment"], text=True,
                          capture_output=True, check=True).stdout
    assert "examples/sentiment.py" in said and "missing: imdb, rt-polarity" in said
    wrong = subprocess.run([sys.executable, str(SCRIPT), "nosuchrow"], text=True,
                           capture_output=True, check=False)
    assert wrong.returncode == 2 and "no command contains nosuchrow" in wrong.stderr
