"""examples/match_images_text.py and caption_images.py --quick: losses fall, and by how much."""

import runpy
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(monkeypatch, name):
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    return runpy.run_path(str(EXAMPLES / name))["main"]()


def test_the_towers_search_far_better_than_chance(monkeypatch, capsys):
    found = run(monkeypatch, "match_images_text.py")
    assert found["last loss"] < 0.6 * found["first loss"]
    for way in ("captions", "pictures"):
        assert found[f"towers {way}@5"] > 5 * found[f"chance {way}@5"]
    assert f"recall@1 {found['towers captions@1']:.1%}" in capsys.readouterr().out


def test_captions_say_where_and_how_large(monkeypatch, capsys):
    found = run(monkeypatch, "caption_images.py")
    assert found["last loss"] < 0.4 * found["first loss"]
    assert found["layout"] > 0.9 and found["sizes and shades"] > 0.6
    shown = [line for line in capsys.readouterr().out.splitlines()
             if line.startswith(("    right: ", "    WRONG: "))]
    assert len(shown) == 8
