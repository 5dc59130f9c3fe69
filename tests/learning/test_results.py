"""The figures that docs/results.md states, reached again from scratch: pytest -m learning.

`make examples` runs the same rows and writes the page.
"""

from __future__ import annotations

import runpy
from itertools import groupby
from pathlib import Path

import pytest

RUN_ALL = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "run_all.py"))
GROUPS = {command: list(rows) for command, rows in groupby(
    (row for row in RUN_ALL["load_rows"]() if row.get("targets")), lambda row: row["command"])}


@pytest.mark.learning
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", GROUPS)
def test_a_row_reaches_its_targets(command, tmp_path):
    rows = GROUPS[command]
    missing = [name for row in rows for name in RUN_ALL["missing_data"](row)]
    if missing:
        pytest.skip(f"TINYGEN_DATA does not have {', '.join(missing)}")
    figures = RUN_ALL["run"](command, tmp_path / "out")["figures"]
    assert not [text for row in rows for text in RUN_ALL["missed_targets"](row, figures)]
