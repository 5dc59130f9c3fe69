"""examples/translate.py --quick: a made-up language is translated word for word."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "translate.py"


def test_a_made_up_language_is_learnt_and_its_attention_drawn(monkeypatch, capsys, tmp_path):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["translate.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["loss"] < 0.5 * found["first loss"]
    assert found["exact greedy"] > 0.8 and found["exact beam"] > 0.8
    assert found["BLEU beam"] > 85
    said = capsys.readouterr().out
    assert f"beam: BLEU {found['BLEU beam']:.2f} (nrefs:" in said and "tok:13a" in said
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
