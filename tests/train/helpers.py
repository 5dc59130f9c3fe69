"""What the tests of training share: small runs, and comparisons of what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import data, models
from tinygen.tensor import Tensor
from tinygen.train import Curves, Trainer, read_checkpoint

OPTIONS = {
    "gan": {"hidden": (16, 24), "latent": 4},
    "dcgan": {"width": 4, "latent": 4},
    "wgan-gp": {"hidden": (16, 24), "latent": 4, "n_critic": 3},
    "vae": {"hidden": 16, "latent": 2},
    "conv-vae": {"width": 4, "latent": 2},
    "vae-gan": {"width": 4, "latent": 2},
}
STEPS_PER_EPOCH = 7


def digits_loader(batch_size=16, n=STEPS_PER_EPOCH * 16, seed=3):
    part = data.Subset(data.load("digits"), range(n))
    return data.DataLoader(part, batch_size, shuffle=True, drop_last=True, seed=seed)


def make_trainer(out, name="vae", num_classes=None, model=None, loader=None, **options):
    """A trainer of a tiny model on some of the digits; the same arguments, the same trainer."""
    tg.manual_seed(5)
    if model is None:
        model = models.build(name, (1, 8, 8), num_classes, **OPTIONS[name])
    if "epochs" not in options:
        options.setdefault("steps", 10)
    trainer = Trainer(model, loader or digits_loader(), out,
                      **{"progress": False, "samples": 4, "log_every": 3, "seed": 9, **options})
    # Half a second each, and no part of the state; the tests of the command line draw them
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, Curves)]
    return trainer


def assert_same_state(a, b, path="state"):
    """Two nested states hold the same bits."""
    assert type(a) is type(b), path
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape, path
        assert a.numpy().tobytes() == b.numpy().tobytes(), path
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_same_state(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same_state(x, y, f"{path}[{i}]")
    else:
        assert a == b, path


def assert_same_run(a: Path, b: Path, step: int):
    """Two folders hold the same run: state, metrics and pictures, byte for byte."""
    name = f"checkpoints/step-{step:08d}.safetensors"
    assert_same_state(read_checkpoint(a / name), read_checkpoint(b / name))
    pictures = sorted(p.name for p in (a / "samples").iterdir())
    assert pictures == sorted(p.name for p in (b / "samples").iterdir()) and pictures
    for file in ("metrics.csv", "metrics.jsonl", "samples.png",
                 *(f"samples/{p}" for p in pictures)):
        assert (a / file).read_bytes() == (b / file).read_bytes(), file


def no_temporaries(folder: Path):
    """True if no unfinished file was left behind."""
    return not [p for p in folder.rglob(".*") if p.name != ".lock"]


def run_python(*arguments, **options):
    """A subprocess of this interpreter that finds this tinygen, one thread of BLAS."""
    root = Path(tg.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1",
           "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def flip_bit(path: Path, position: int, bit: int = 0):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def weights(trainer):
    """A copy of all weights in one array."""
    return np.concatenate([t.numpy().ravel() for t in trainer.model.state_dict().values()])
