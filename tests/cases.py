"""One row per primitive: how to draw inputs for it, and what NumPy says its result is.

`tests/engine/test_primitives.py` runs every property of the engine over these rows, and fails when
a primitive has none. The rows stand in `tests/rows/`, by subject. How inputs are drawn is told in
`tests/drawing.py`; rows for whole families of primitives are made in `tests/families.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import tinygen
from tests import rows
from tests.drawing import Case
from tinygen.primitive import PRIMITIVES


def import_all(path: Any = tinygen.__path__, prefix: str = "tinygen.") -> None:
    """Import every module of tinygen, so that all primitives are registered."""
    for found in pkgutil.iter_modules(path, prefix):
        if found.name in ("tinygen.kernels", "tinygen.__main__"):
            continue
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("tinygen"):
                raise
            continue                     # an optional package is not installed here
        if found.ispkg:
            import_all(module.__path__, f"{found.name}.")


import_all()

CASES: list[Case] = []
EXEMPT: dict[str, str] = {}    # a primitive without a row -> why, and where it is tested

for _found in pkgutil.iter_modules(rows.__path__, "tests.rows."):
    _module = importlib.import_module(_found.name)
    CASES += _module.CASES
    EXEMPT |= getattr(_module, "EXEMPT", {})


def missing() -> set[str]:
    """Primitives that have neither a row nor a reason to have none."""
    return set(PRIMITIVES) - {case.name for case in CASES} - set(EXEMPT)


def stale() -> set[str]:
    """Rows and exemptions for primitives that do not exist."""
    return ({case.name for case in CASES} | set(EXEMPT)) - set(PRIMITIVES)
