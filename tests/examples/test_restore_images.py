"""examples/restore_images.py --quick: what is learnt comes nearer to the originals than filters."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")

EXAMPLE = Path(__file__).parents[2] / "examples" / "restore_images.py"


def test_three_tasks_beat_what_needs_no_learning(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["restore_images.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    for task in ("inpaint", "denoise", "upscale"):
        assert found[f"{task} last loss"] < 0.8 * found[f"{task} first loss"], task
    for measure in ("psnr", "ssim"):
        assert found[f"denoise {measure}"] > max(
            found[f"{name} {measure}"] for name in ("noisy", "median", "gaussian"))
        assert found[f"upscale {measure}"] > found[f"bicubic {measure}"]
        for task in ("inpaint", "inpaint gan"):
            for where in ("", " hole"):
                assert found[f"{task}{where} {measure}"] > max(
                    found[f"{name}{where} {measure}"] for name in ("mean colour", "mean picture"))
    # a hole is 36 of 256 pixels, and nothing else is touched: the whole has 10 log10(256 / 36) more
    assert found["inpaint psnr"] - found["inpaint hole psnr"] == pytest.approx(8.52, abs=0.01)
    assert f"denoise: {found['denoise psnr']:.2f} dB" in capsys.readouterr().out
    with Image.open(tmp_path / "inpaint.png") as picture:
        assert np.asarray(picture).shape == (4 * 50 + 2, 12 * 50 + 2, 3)
