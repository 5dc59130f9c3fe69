"""Curves and panels: what is drawn, from which rows, and what an error says."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.viz.helpers import read_png, without
from tinygen.viz import plot_curves, save_panels
from tinygen.viz.curves import _curves, _running_mean, _spans_decades, read_jsonl


def history(n=300):
    rng = np.random.default_rng(4)
    rows = [{"step": i, "loss": 50 * 0.97**i + 0.1 * rng.random() + 0.05, "lr": 1e-3, "note": "x"}
            for i in range(n)]
    for row in rows[::50]:
        row["val_loss"] = np.float32(row["loss"] * 1.2)
    return rows


def test_curves_are_drawn_from_rows_and_from_a_file_alike(tmp_path):
    pytest.importorskip("matplotlib")
    rows = history()
    lines = [json.dumps({k: v if isinstance(v, str) else float(v) for k, v in row.items()})
             for row in rows]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    drawn = read_png(plot_curves(rows, tmp_path / "rows.png"))
    assert drawn.shape[0] >= 500 and drawn.std() > 5
    np.testing.assert_array_equal(
        drawn, read_png(plot_curves(tmp_path / "metrics.jsonl", tmp_path / "file.png"))
    )
    assert sorted(os.listdir(tmp_path)) == ["file.png", "metrics.jsonl", "rows.png"]


def test_pyplot_is_not_touched(tmp_path):
    pytest.importorskip("matplotlib")
    script = (
        "import sys; from tinygen.viz import plot_curves\n"
        "assert not {'matplotlib', 'PIL'} & set(sys.modules)\n"
        "plot_curves([{'epoch': 1, 'loss': 1.0}], sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "c.png")], cwd=os.getcwd())
    assert done.returncode == 0


def test_metrics_are_told_from_bookkeeping_and_the_later_row_counts():
    rows = [{"step": 0, "loss": 3.0, "lr": 0.1, "ok": True, "time": 5.0}, {"step": 20, "loss": 2.0},
            {"step": 20, "loss": 1.5, "kl": float("inf")}, {"step": 10, "loss": np.float32(2.5)}]
    x_key, curves = _curves(rows, None)
    assert x_key == "step" and list(curves) == ["loss", "kl"]
    assert curves["loss"] == [(0, 3.0), (10, 2.5), (20, 1.5)]
    assert np.isnan(curves["kl"][0][1])
    assert list(_curves(rows, ["lr"])[1]) == ["lr"]


def test_rows_without_a_common_step_are_counted():
    assert _curves([{"step": 5, "loss": 1.0}, {"loss": 2.0}], None) == (
        "row", {"loss": [(0, 1.0), (1, 2.0)]}
    )


def test_running_mean_starts_at_the_first_value_and_passes_gaps():
    assert _running_mean([4.0] * 3, 0.9) == pytest.approx([4.0] * 3)
    smoothed = _running_mean([2.0, float("nan"), 4.0], 0.5)
    assert smoothed[0] == 2.0 and np.isnan(smoothed[1]) and smoothed[2] == pytest.approx(10 / 3)


@pytest.mark.parametrize("values, log", [([1, 99], False), ([1, 100], True), ([0, 1000], False),
                                         ([-1, 1000], False), ([float("nan")], False)])
def test_the_axis_is_logarithmic_when_values_span_decades(values, log):
    assert _spans_decades({"loss": list(enumerate(values))}) is log


def test_a_line_cut_off_by_a_kill_is_left_out_and_others_are_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": NaN}\n\n{"step": 2, "lo')
    assert [row["step"] for row in read_jsonl(path)] == [1]
    path.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: not JSON"):
        read_jsonl(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match=r"line 1: expected an object, got \[1, 2\]"):
        read_jsonl(path)


@pytest.mark.parametrize(
    "rows, options, words",
    [
        ([], {}, r"no numbers to draw for any metric in 0 rows"),
        ([{"step": 1, "note": "x"}], {}, r"any metric in 1 rows .* \['note', 'step'\]"),
        ([{"step": 1, "loss": 2.0}], {"keys": ["los"]}, r"draw for los .*\['loss', 'step'\]"),
        ([{"step": 1, "loss": 2.0}], {"smooth": 1.0}, r"smooth must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_history_without_metrics_is_named(rows, options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        plot_curves(rows, tmp_path / "c.png", **options)
    assert os.listdir(tmp_path) == []


def test_missing_matplotlib_is_explained(tmp_path, monkeypatch):
    without(monkeypatch, "matplotlib")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinygen\[app\]'"):
        plot_curves([{"step": 1, "loss": 2.0}], tmp_path / "c.png")


# -- panels ---------------------------------------------------------------------------------------


def test_panels_are_drawn_in_order_with_their_titles(tmp_path):
    pytest.importorskip("matplotlib")
    titles = []

    def first(axes):
        """One line
        and more."""
        axes.plot([0, 1])
        titles.append(axes)

    def second(axes):
        axes.set_title("its own")
        titles.append(axes)

    path = save_panels([first, second], tmp_path / "new" / "panels.png", columns=1)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [axes.get_title() for axes in titles] == ["One line", "its own"]
    upper, lower = (axes.get_position() for axes in titles)
    assert upper.y0 > lower.y1 and upper.x0 == pytest.approx(lower.x0, abs=0.05)


def test_panels_keep_the_old_file_when_a_drawer_fails(tmp_path):
    pytest.importorskip("matplotlib")
    old = tmp_path / "a.png"
    old.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        save_panels([lambda axes: 1 / 0], old)
    assert old.read_bytes() == b"old" and list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(("drawers", "path", "columns", "words"), [
    ([], "a.png", 3, "no drawers"), ([print], "a.jpg", 3, "ends in .png"),
    ([print], "a.png", 0, "columns must be 1 or more, got 0")])
def test_panels_refuse(drawers, path, columns, words):
    with pytest.raises(ValueError, match=words):
        save_panels(drawers, path, columns=columns)


def test_panels_without_matplotlib_say_what_to_install(monkeypatch, tmp_path):
    without(monkeypatch, "matplotlib")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinygen\[app\]'"):
        save_panels([print], tmp_path / "a.png")
