"""examples/spoken_digits.py --quick: what is drawn becomes sound that is heard rightly."""

import runpy
import sys
from pathlib import Path

from tinygen import provenance
from tinygen.data import read_wav

EXAMPLE = Path(__file__).parents[2] / "examples" / "spoken_digits.py"


def test_written_sounds_are_heard_as_what_they_should_be(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["spoken_digits.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["real"] > 0.95 and found["real, by Griffin-Lim"] > 0.95
    assert found["generated"] >= 0.8
    losses = [line.split()[2:6:3] for line in capsys.readouterr().out.splitlines()
              if " at first, " in line]
    assert len(losses) == 2 and all(float(last) < float(first) for first, last in losses), losses
    names = sorted(path.name for path in (tmp_path / "sounds").iterdir())
    assert len(names) == 20 and names[0] == "0_whistle_0.wav"
    sound, _ = read_wav(tmp_path / "sounds" / names[0], 8000)
    assert len(sound) == 1984 and 0.05 < abs(sound).max() <= 1
    record = provenance.read(tmp_path / "sounds" / names[0])
    assert record.unchanged and record.record["model"] == "vae"
    assert (tmp_path / "spectrograms.png").read_bytes().startswith(b"\x89PNG")
