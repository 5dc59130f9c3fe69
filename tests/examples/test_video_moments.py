"""examples/video_moments.py --quick: sentences find their moments, and other sentences do not."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "video_moments.py"


def test_the_sentence_decides_which_moment_is_found(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["video_moments.py", "--quick", "--out", str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    assert found["last loss"] < 0.7 * found["first loss"]
    assert found["asked"] > 0.6 and found["recall at 0.5"] > 0.6
    for other in ("another video's sentence", "always the average", "at random"):
        assert found["asked"] > found[other] + 0.15
    assert f"asked                     {found['asked']:.3f}" in capsys.readouterr().out
    assert (tmp_path / "moments.png").read_bytes().startswith(b"\x89PNG")
