"""For all tests: hypothesis profiles, and where the real data sets are."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# `HYPOTHESIS_PROFILE=thorough pytest tests/engine` before a release; shared CI machines stall at
# random, so no example has a deadline.
_COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=20, **_COMMON)
settings.register_profile("thorough", max_examples=300, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_shared = Path(__file__).resolve().parents[2] / "shared" / "data"
if not os.environ.get("TINYGEN_DATA") and _shared.is_dir():
    os.environ["TINYGEN_DATA"] = str(_shared)
