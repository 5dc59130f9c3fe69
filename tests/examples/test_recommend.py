"""examples/recommend.py --quick: the losses fall, and both models beat their baselines."""

import re
import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "recommend.py"


def test_both_models_beat_the_simple_answers(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recommend.py", "--quick"])
    found = runpy.run_path(str(EXAMPLE))["main"]()
    first, last = map(float, re.findall(r"loss ([\d.]+) nats", capsys.readouterr().out))
    assert last < first - 5
    assert found["Mult-VAE NDCG@100"] > found["popularity NDCG@100"] + 0.1
    assert found["Mult-VAE Recall@20"] > found["popularity Recall@20"] + 0.2
    assert (found["factorisation RMSE"] + 0.1 < found["biases alone RMSE"]
            < found["mean rating RMSE"])
