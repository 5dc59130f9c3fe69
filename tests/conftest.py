"""For all tests: hypothesis profiles, and where the real data sets are."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# HYPOTHESIS_PROFILE=thorough before a release, HYPOTHESIS_EXAMPLES for a number of one's own.
# Shared CI machines stall at random, so no example has a deadline.
_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
_profile = os.environ.get("HYPOTHESIS_PROFILE", "ci")
_default = {"ci": 20, "thorough": 300}
for _name, _examples in _default.items():
    settings.register_profile(
        _name, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", _examples)), **_common)
settings.load_profile(_profile)

_shared = Path(__file__).resolve().parents[2] / "shared" / "data"
if not os.environ.get("TINYGEN_DATA") and _shared.is_dir():
    os.environ["TINYGEN_DATA"] = str(_shared)
