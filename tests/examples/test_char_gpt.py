"""examples/char_gpt.py --quick: the loss on unseen text falls, and a text comes out."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "char_gpt.py"


def test_it_learns_tinygens_own_source_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["char_gpt.py", "--quick", "--steps", "80", "--length", "60",
                                      "--prompt", "class "])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert 4.3 < found["before"] < 4.7               # guessing among 93 characters: 4.53
    assert found["loss"] < 3.2
    assert len(capsys.readouterr().out.split("steps\n")[1]) == len("class ") + 60 + 1
