"""`make gpu` without a GPU: timing on a made-up clock, verdicts, pages, the work on both sides."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu_child import answer, make_side
from benchmarks.gpu_report import GpuReport, GpuResult, page, verdict, write
from benchmarks.gpu_rows import SIDES, GpuRow, gpu_rows
from benchmarks.gpu_timing import ClockMarks, Timing, measure
from benchmarks.gpu_work import work

ROOT = Path(__file__).resolve().parents[1]


class Device:
    """A device whose stream does each step in a given time, and a host that waits for it."""

    def __init__(self, *durations):
        self.durations, self.now, self.queue, self.waits, self.calls = durations, 0.0, 0.0, 0, 0

    def step(self):
        self.queue += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1

    def mark(self):
        return self.queue

    def wait(self):
        self.waits += 1
        self.now = max(self.now, self.queue)

    def seconds(self, start, end):
        assert self.now >= end, "a mark was read before the device had reached it"
        return end - start

    def clock(self):
        return self.now


def test_groups_are_long_beside_an_event_and_the_first_steps_do_not_count():
    device = Device(*[0.5] * 3, 1e-4)                       # compiles in its first three steps
    found = measure(device.step, device, 0.05, device.clock)
    assert found.steps == 50                                # 5 ms of 0.1 ms
    assert found.groups == pytest.approx([1e-4] * len(found.groups))
    assert 3 <= len(found.groups) <= 20
    assert device.waits < device.calls / 10                 # nobody waits between steps
    assert found.best == pytest.approx(1e-4) == pytest.approx(found.typical)


def test_slow_steps_are_taken_three_times_and_fast_ones_no_longer_than_asked():
    slow = Device(2.0)
    assert len(measure(slow.step, slow, 0.5, slow.clock).groups) == 3
    fast = Device(1e-6)
    assert len(measure(fast.step, fast, 0.02, fast.clock).groups) <= 5
    assert measure(lambda: None, ClockMarks(), 0.01).best < 1e-3
    assert Timing([3.0, 1.0, 2.0], 1).best == 1.0 and Timing([3.0, 1.0, 2.0], 1).typical == 2.0


def result(row, **seconds):
    return GpuResult(row, {s.replace("_", "-"): Timing([t], 1) for s, t in seconds.items()})


def test_verdicts():
    product = GpuRow("m", "matmul", flops=10 ** 12, target=0.95)
    assert verdict(result(product, tinygen=1.0, torch=0.96), 1e12) == (0.96, True)
    assert verdict(result(product, tinygen=1.0, torch=0.9), 1e12) == (0.9, False)
    assert verdict(result(product, tinygen=1.0), 1e12) == (None, None)
    assert verdict(result(product, torch=1.0), 1e12) == (None, None)
    copying = GpuRow("c", "memory", bytes=10 ** 12, target=0.85, bandwidth=True)
    assert verdict(result(copying, tinygen=0.5, torch=9.0), 4e12) == (0.5, False)
    assert verdict(result(copying, tinygen=0.25), 4e12) == (1.0, True)
    assert verdict(result(copying, tinygen=0.25), 0.0) == (None, None)
    step = GpuRow("s", "mlp", target=2.0, sides=SIDES)
    assert verdict(result(step, tinygen=1.0, tinygen_jit=0.4, torch=0.9), 1.0) == (2.25, True)
    assert verdict(result(GpuRow("n", "matmul"), tinygen=1.0, torch=3.0), 1.0) == (3.0, None)


def test_pages_and_files(tmp_path):
    results = [result(GpuRow("matmul-8192", "matmul", flops=2 * 8192 ** 3, target=0.95),
                      tinygen=0.002, torch=0.0015),
               result(GpuRow("micro-mlp", "mlp", target=2.0, sides=SIDES, samples=32),
                      tinygen=1e-3, tinygen_jit=1e-4, torch=4e-4)]
    results[1].failures["torch-compile"] = "no compiler"
    report = GpuReport("NVIDIA H200 (test)", "580.1", "2026-11-29", ["Python 3", "tinygen 0"],
                       4e12, results, [("numerics", "9 passed")], 123.0)
    text = page(report)
    for words in ("# NVIDIA H200 (test), 2026-11-29", "Driver 580.1", "4.00 TB/s",
                  "* numerics: 9 passed", "Targets reached: 1 of 2.", "549.8 TFLOP/s",
                  "320,000/s", "* micro-mlp, torch-compile: no compiler", "0.95 of torch"):
        assert words in text, words
    lines = [line.split() for line in text.splitlines()]
    assert [line[-1] for line in lines if line and line[0] == "matmul-8192"] == ["NO"]
    assert [line[-1] for line in lines if line and line[0] == "micro-mlp"] == ["yes"]
    markdown, data = write(report, tmp_path / "new")
    assert markdown.name == "2026-11-29-nvidia-h200-test.md" and markdown.read_text() == text
    kept = json.loads(data.read_text())
    assert kept["rows"][0]["target_met"] is False and kept["rows"][1]["found"] == 4.0
    assert kept["rows"][1]["sides"]["tinygen-jit"]["best"] == 1e-4


class Answers:
    """A child without a process."""

    def __init__(self, side, device):
        self.side, self.asked, self.closed = side, [], False
        CHILDREN[side] = self

    def ask(self, **request):
        self.asked.append(request)
        if "about" in request:
            return {"version": f"{self.side} 1"}
        if "copy" in request:
            return {"bytes_per_second": 5e12}
        if self.side == "torch-compile":
            return {"failed": "no compiler"}
        return {"groups": [1.0 if self.side == "torch" else 0.5], "steps": 1, "loss": 0.7}

    def close(self):
        self.closed = True


CHILDREN: dict[str, Answers] = {}


def test_sides_take_turns_and_what_fails_is_not_asked_again():
    pytest.importorskip("torch")
    said = []
    results, copy, versions = gpu.benchmark("cpu", True, gpu.Deadline(100), said.append, Answers)
    assert copy == 5e12 and versions[1:] == [f"{s} 1" for s in SIDES]
    assert all(child.closed for child in CHILDREN.values())
    by_name = {r.row.name: r for r in results}
    assert set(by_name) == {r.name for r in gpu_rows(True)}
    mlp = by_name["micro-mlp"]
    assert mlp.failures == {"torch-compile": "no compiler"} and mlp.losses["torch"] == 0.7
    assert mlp.sides["tinygen"].groups == [0.5, 0.5] and verdict(mlp, copy) == (2.0, True)
    compiled = [q for q in CHILDREN["torch-compile"].asked if "row" in q]
    assert len(compiled) == 5 and len(said) == len(results) + 5
    for r in results:
        assert set(r.sides) | set(r.failures) == set(r.row.sides)


def test_when_time_is_up_rows_say_so():
    pytest.importorskip("torch")
    now = iter(range(0, 10 ** 6, 3))
    results, *_ = gpu.benchmark("cpu", True, gpu.Deadline(100, lambda: next(now)), lambda _: None,
                                Answers)
    late = [r for r in results if "no time was left" in r.failures.values()]
    assert results[0] not in late and results[-1] in late and len(results[0].sides) == 2


def test_steps_beside_the_benchmark(capsys):
    python = sys.executable
    assert gpu.run_step([python, "-c", "print('3 passed')"], 60, print) == (True, "3 passed")
    good, last = gpu.run_step([python, "-c", "raise SystemExit('1 failed')"], 60, print)
    assert good is False and last == "1 failed" and "1 failed" in capsys.readouterr().out
    assert gpu.run_step([python, "-c", "import time; time.sleep(60)"], 0.2, print) == (
        None, "not done after 0 s")


@pytest.mark.skipif(gpu.missing() is None, reason="there is a GPU here")
def test_without_a_gpu_it_says_what_is_missing_and_writes_nothing(tmp_path):
    for options in (["--look"], ["--out", str(tmp_path / "results")]):
        done = subprocess.run([sys.executable, "benchmarks/gpu.py", *options], cwd=ROOT,
                              capture_output=True, text=True, check=False)
        assert done.returncode == gpu.NO_GPU and not done.stdout
        assert "make gpu: no NVIDIA driver" in done.stderr or "NVIDIA driver" in done.stderr
        assert "Nothing was measured or written" in done.stderr
    assert not list(tmp_path.iterdir())


def numbers(x):
    return np.asarray((x.detach() if hasattr(x, "detach") else x).float().tolist())


@pytest.mark.parametrize("row", [r for r in gpu_rows(True) if r.samples is None
                                 and "dropout" not in r.name and r.kind != "adamw"],
                         ids=lambda r: r.name)
def test_both_sides_compute_the_same(row):
    """The same lines on the same numbers; rows that learn run their backward pass, too."""
    torch = pytest.importorskip("torch")
    if row.name.startswith(("conv", "attention")) and "float32" not in row.name:
        pytest.importorskip("ml_dtypes")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = (numbers(work(make_side(side, "cpu"), row.kind, row.options)())
                        for side in ("tinygen", "torch"))
    finally:
        torch.set_num_threads(threads)
    assert ours.shape == theirs.shape
    bound = 2e-5 if "float32" in row.name else 2.0 ** -6
    assert np.abs(ours - theirs).max() <= bound * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("name", ["micro-mlp", "mlp-gan", "small-gpt", "char-gpt", "dcgan-64x64"])
def test_training_steps_run_as_they_are_and_recorded(name):
    pytest.importorskip("ml_dtypes")
    asked = {"row": name, "quick": True, "seconds": 0.001}
    plain, jit = (answer(make_side(side, "cpu"), asked) for side in ("tinygen", "tinygen-jit"))
    assert "failed" not in plain and "failed" not in jit, (plain, jit)
    assert plain["loss"] == pytest.approx(jit["loss"], rel=1e-3) and len(jit["groups"]) >= 3


def test_what_goes_wrong_in_a_row_is_an_answer():
    side = make_side("tinygen", "cpu")
    side.record = lambda step: lambda: float("nan")
    assert answer(side, {"row": "micro-mlp", "quick": True, "seconds": 0.01}) == {
        "failed": "the first loss is nan"}
    side.record = lambda step: lambda: 1 / 0
    assert answer(side, {"row": "micro-mlp", "quick": True, "seconds": 0.01})["failed"].startswith(
        "ZeroDivisionError")
    assert answer(side, {"copy": 1 << 16})["bytes_per_second"] > 0


def test_rows_are_those_of_the_issue():
    rows = {r.name: r for r in gpu_rows()}
    assert rows["matmul-bfloat16-8192"].target == 0.95
    for learns in ("forward", "backward"):
        for width in (64, 128):
            for length in (1024, 2048, 4096, 8192, 16384):
                for end in ("", "-causal"):
                    assert rows[f"attention-{learns}-d{width}-{length}{end}"].target == 0.95
    assert {rows[n].target for n in ("micro-mlp", "mlp-gan", "small-gpt")} == {2.0}
    assert {rows[n].target for n in ("dcgan-64x64", "char-gpt")} == {1.2}
    assert all(r.target == 0.85 for r in rows.values() if r.bandwidth)
    assert all(r.target == 0.95 for r in rows.values() if r.kind == "conv")
    assert len(rows) == len(gpu_rows())
