"""examples/sentiment.py --quick: attention reads negations that the linear machine cannot."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "sentiment.py"


def test_attention_beats_the_linear_machine_and_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sentiment.py", "--quick"])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["attention"] > 0.95 and found["linear"] < 0.75
    said = capsys.readouterr().out
    assert f"mean of 1: {found['attention']:.2%}" in said
    shown = [line for line in said.splitlines() if " | " in line]
    assert len(shown) == 3
    for line in shown:
        shares = [int(part.split()[1].rstrip("%")) for part in line.split(": ")[1].split(" | ")]
        assert 97 <= sum(shares) <= 103
