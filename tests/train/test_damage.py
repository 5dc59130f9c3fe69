"""Damaged checkpoints and full disks: named, survived, and nothing half-written."""

import errno
import resource
import shutil
import signal

import pytest

from tests.train.helpers import assert_same_run, flip_bit, make_trainer, no_temporaries
from tinygen import serialization
from tinygen.train import CheckpointError, TrainingError, TrainingWarning, read_checkpoint

OPTIONS = {"steps": 12, "checkpoint_every": 4, "sample_every": 4,
           "monitor": "none"}   # no checkpoints but these


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with checkpoints at 4, 8 and 12."""
    out = tmp_path_factory.mktemp("run")
    make_trainer(out, **OPTIONS).fit()
    return out


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def newest(out):
    return out / "checkpoints" / "step-00000012.safetensors"


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("damage", [
    lambda path: truncate(path, 0), lambda path: truncate(path, 5),
    lambda path: truncate(path, path.stat().st_size // 2),
    lambda path: truncate(path, path.stat().st_size - 1),
    lambda path: flip_bit(path, path.stat().st_size - 1),
    lambda path: flip_bit(path, path.stat().st_size // 2, 7),
    lambda path: path.write_bytes(b"no checkpoint at all"),
], ids=["empty", "5-bytes", "half", "all-but-one", "last-bit", "middle-bit", "other-file"])
def test_damaged_newest_checkpoint_is_passed_over(run, copy, damage):
    damage(newest(copy))
    with pytest.warns(TrainingWarning, match=r"step-0+12\.safetensors.* going back to step-0+8\."):
        make_trainer(copy, **OPTIONS).fit(resume=True)
    assert_same_run(run, copy, 12)
    assert newest(copy).with_name("step-00000012.safetensors.old").exists()


def test_damaged_checkpoint_that_was_asked_for_is_an_error(copy):
    flip_bit(newest(copy), 4000)
    with pytest.raises(CheckpointError, match=r"step-00000012\.safetensors is damaged"):
        make_trainer(copy, **OPTIONS).fit(resume=newest(copy))
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*step-00000099"):
        make_trainer(copy, **OPTIONS).fit(resume=newest(copy).with_name("step-00000099"))


def test_nothing_but_damaged_checkpoints_is_an_error(copy):
    for path in (copy / "checkpoints").glob("step-*"):
        truncate(path, 100)
    with pytest.raises(CheckpointError, match="no checkpoint can be used") as caught:
        make_trainer(copy, **OPTIONS).fit(resume=True)
    assert all(f"step-{step:08d}" in str(caught.value) for step in (4, 8, 12))


def test_every_flipped_bit_is_noticed(copy):
    """One bit at a time, all over the header and through the data."""
    path = newest(copy)
    whole = path.read_bytes()
    positions = [*range(0, 600, 7), *range(600, len(whole), max(len(whole) // 200, 1))]
    for n, position in enumerate(positions):
        flip_bit(path, position, n % 8)
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        path.write_bytes(whole)
    read_checkpoint(path)


def test_weights_without_training_state_are_no_checkpoint(tmp_path):
    trainer = make_trainer(None)
    serialization.save(trainer.model, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="no training state"):
        read_checkpoint(tmp_path / "weights.safetensors")


# -- a disk that fills up -------------------------------------------------------------------------


class SmallFiles:
    """The kernel refuses to let any file grow beyond a size: writes come out short, then fail."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


@pytest.mark.parametrize("stage", [0, 1, 7, 0.1, 0.5, 0.9, -1],
                         ids=lambda s: f"{s:.0%}" if isinstance(s, float) else f"byte {s}")
def test_disk_fills_up_at_any_byte_of_a_checkpoint(run, copy, stage):
    size = newest(copy).stat().st_size
    limit = int(stage * size) if isinstance(stage, float) else stage % size
    trainer = make_trainer(copy, **{**OPTIONS, "steps": 20})
    save = trainer.checkpoints.save

    def save_on_a_full_disk(step, *arguments):
        if step < 16:
            return save(step, *arguments)
        with SmallFiles(limit):
            return save(step, *arguments)

    trainer.checkpoints.save = save_on_a_full_disk
    with pytest.raises(TrainingError, match=r"step 16: .*last good checkpoint is .*step-00000012") \
            as caught:
        trainer.fit(resume=True)
    assert "continue with: Trainer.fit(resume=True)" in str(caught.value)
    assert no_temporaries(copy)
    assert not (copy / "checkpoints" / "step-00000016.safetensors").exists()
    for step in (8, 12):
        read_checkpoint(copy / "checkpoints" / f"step-{step:08d}.safetensors")
    make_trainer(copy, **{**OPTIONS, "steps": 20}).fit(resume=True)      # there is room again
    make_trainer(run.parent / f"whole{limit}", **{**OPTIONS, "steps": 20}).fit()
    assert_same_run(run.parent / f"whole{limit}", copy, 20)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_disk_is_full_says_every_system_call(copy, monkeypatch, call):
    """ENOSPC itself, from each step of writing a checkpoint."""
    trainer = make_trainer(copy, **{**OPTIONS, "steps": 16})
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_):
        raise full

    real_open = open

    def open_full(file, mode="r", *rest, **options):
        stream = real_open(file, mode, *rest, **options)
        return _FullStream(stream, full) if "w" in mode else stream

    def save(step, state, best=False):
        with monkeypatch.context() as patch:
            if call == "write":
                patch.setattr("builtins.open", open_full)
            else:
                patch.setattr(serialization.os, call, fail)
            return type(trainer.checkpoints).save(trainer.checkpoints, step, state, best)

    trainer.checkpoints.save = save
    with pytest.raises(TrainingError, match=r"no room is left to write.*Free some space"):
        trainer.fit(resume=True)
    assert no_temporaries(copy)
    read_checkpoint(newest(copy))


class _FullStream:
    """A file that takes 1000 bytes."""

    def __init__(self, stream, error):
        self.stream, self.error = stream, error

    def __enter__(self):
        self.stream.__enter__()
        return self

    def __exit__(self, *details):
        return self.stream.__exit__(*details)

    def write(self, content):
        self.stream.write(content[:1000])
        raise self.error


@pytest.mark.parametrize("limit", [0, 40, 200])
def test_disk_is_full_for_metrics(tmp_path, limit):
    options = {**OPTIONS, "log_every": 1}
    make_trainer(tmp_path / "whole", **options).fit()
    trainer = make_trainer(tmp_path / "cut", **options)
    train_step = trainer.train_step

    def step(images, labels):
        if trainer.step == 6:
            size = (tmp_path / "cut" / "metrics.jsonl").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + limit, before[1]))
        return train_step(images, labels)

    trainer.train_step = step
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SmallFiles(before[0]), pytest.raises(TrainingError, match=r"metrics.*step-00000004"):
        trainer.fit()
    make_trainer(tmp_path / "cut", **options).fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut", 12)


def test_temporary_files_of_a_killed_process_are_removed(run, copy):
    for name in ("checkpoints/.step-00000013.safetensors.123.part", ".metrics.csv.77.part",
                 "samples/.step-00000001.png.abcd.tmp"):
        (copy / name).write_bytes(b"half")
    make_trainer(copy, **OPTIONS).fit(resume=True)
    assert no_temporaries(copy)
    assert_same_run(run, copy, 12)
