"""examples/vae_digits.py --quick: losses fall, and the pictures it promises are there."""

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("PIL")
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "vae_digits.py"


@pytest.mark.parametrize(("model", "epochs", "fall"), [("vae", 5, 10.0), ("vae-gan", 3, 0.03)])
def test_losses_fall_and_pictures_are_written(model, epochs, fall, monkeypatch, tmp_path, capsys):
    """Nats per test image for the VAE, squares of pixels for the VAE-GAN."""
    monkeypatch.setattr(sys, "argv", ["vae_digits.py", "--quick", "--model", model, "--epochs",
                                      str(epochs), "--out", str(tmp_path / "made")])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    loss = "mse" if model == "vae-gan" else "loss"
    assert found[loss] < found[f"first {loss}"] - fall
    assert found[f"plane {loss}"] < found[f"plane first {loss}"]
    assert 5 < found["PSNR"] < 40 and 0 <= found["precision"] <= 1
    said = capsys.readouterr().out
    assert "PSNR" in said and "Fréchet distance" in said
    sizes = {}
    for path in (tmp_path / "made").iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    # cells of 3 * 16 pixels, with gaps of 2; the plane's 12 by 12 touch
    assert sizes == {"reconstructions.png": (16 * 50 + 2, 4 * 50 + 2),
                     "interpolation.png": (12 * 50 + 2, 8 * 50 + 2),
                     "samples.png": (16 * 50 + 2, 8 * 50 + 2), "plane.png": (960, 960)}
