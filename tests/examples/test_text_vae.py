"""examples/text_vae.py --quick: the bound tightens, the code holds something, names come out."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "text_vae.py"


def test_it_learns_made_up_names(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["text_vae.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["bound"] < 0.8 * found["untrained"]
    assert found["kl"] > 2                                        # no posterior collapse
    assert found["weighted bound"] < found["bound"]
    assert found["lstm perplexity"] < 8                           # guessing among 13 tokens: 13
    written = (tmp_path / "made-up.txt").read_text()
    assert written in capsys.readouterr().out
    assert set("".join(written.split("new:")[1].split("LSTM")[0].split())) <= set("klmnrstaeiou")
