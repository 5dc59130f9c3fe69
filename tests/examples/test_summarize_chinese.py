"""examples/summarize_chinese.py --quick: the title after the word for "study" is found."""

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("rouge_score")
pytest.importorskip("scipy")

EXAMPLE = Path(__file__).parents[2] / "examples" / "summarize_chinese.py"


def test_it_finds_titles_that_a_lead_does_not_have(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["summarize_chinese.py", "--quick", "--out",
                                      str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["extractor"] > found["lead"] + 0.1 and found["extractor"] > 0.55
    said = capsys.readouterr().out
    assert f"mean of 1: {found['extractor']:.4f}" in said
    assert said.count("attention: ") == 4 and said.count(" | ") == 16
    rows = [line.split("\t") for line in (tmp_path / "titles.tsv").read_text("utf-8").splitlines()]
    assert len(rows) == 60
    assert abs(sum(float(score) for score, _, _ in rows) / 60 - found["extractor"]) < 1e-3
