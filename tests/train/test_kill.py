"""Runs killed from outside: `kill -9` at random instants, Ctrl-C, SIGTERM."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.train.helpers import assert_same_run, no_temporaries, run_python
from tinygen.train import read_checkpoint

VICTIM = Path(__file__).with_name("victim.py")
KILLS = 20
STEPS = 400


def start(out, steps=STEPS, after=0):
    """A victim that has begun to train, and has reached a step."""
    process = run_python(VICTIM, out, steps)
    while True:
        line = process.stdout.readline()
        assert line.startswith("ready"), process.stderr.read()
        if int(line.split()[1]) >= after:
            return process


def finish(process):
    """Wait for the end; (exit code, standard error)."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path):
    """20 times `kill -9`, then the end: all that is left is what an unhurt run leaves."""
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    training = time.monotonic()
    assert finish(whole) == (0, "")
    length = time.monotonic() - training

    chance = random.Random(20)
    kills = runs = 0
    while kills < KILLS:
        out = tmp_path / f"cut{runs}"
        process = start(out)
        # On average a thirtieth of the run, so that 20 kills fall into one
        time.sleep(chance.uniform(0, length / 15))
        if process.poll() is None:
            process.kill()
            kills += 1
        if finish(process)[0] == 0:      # faster than before: kill another run
            assert_same_run(tmp_path / "whole", out, STEPS)
            runs += 1
    out = tmp_path / f"cut{runs}"
    assert finish(start(out)) == (0, "")
    assert_same_run(tmp_path / "whole", out, STEPS)
    assert no_temporaries(out)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_signal_saves_and_says_how_to_resume(tmp_path, number):
    process = start(tmp_path / "cut", 300, after=50)
    process.send_signal(number)
    code, errors = finish(process)
    assert code != 0
    steps = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))
    last = read_checkpoint(steps[-1])
    assert 0 < last["step"] < 300
    assert f"stopped at step {last['step']} of 300, all saved in" in errors
    assert "continue with: Trainer.fit(resume=True)" in errors
    # Saved at the very step, not at the last multiple of checkpoint_every only
    rows = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[0]) <= last["step"] < int(rows[-1].split(",")[0]) + 2
    assert finish(start(tmp_path / "cut", 300))[0] == 0
    assert finish(start(tmp_path / "whole", 300))[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 300)


def test_second_ctrl_c_leaves_at_once(tmp_path):
    """The first one cannot be obeyed here: the step never ends."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from tests.train.helpers import make_trainer\n"
        "trainer = make_trainer(sys.argv[1], steps=5)\n"
        "def step(*_):\n"
        "    print('in a step', flush=True)\n"
        "    time.sleep(100)\n"
        "trainer.model.training_step = step\n"
        "trainer.fit()\n")
    process = run_python(script, tmp_path / "run")
    assert process.stdout.readline() == "in a step\n"
    process.send_signal(signal.SIGINT)
    while "again to leave at once" not in process.stderr.readline():
        pass
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code != 0 and "KeyboardInterrupt" in errors
    assert no_temporaries(tmp_path / "run")


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    first = start(tmp_path / "run", 100_000)
    try:
        second = run_python(VICTIM, tmp_path / "run", 100_000)
        code, errors = finish(second)
        assert code == 1
        assert f"another process (process {first.pid}) is training into" in errors
    finally:
        first.kill()
        first.communicate()
