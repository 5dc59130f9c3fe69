"""All adapters, and the ops that are not compared, each with its reason."""

from __future__ import annotations

from typing import Any

from tests.suites.opinfo import networks, pointwise, products, reductions, shapes

ADAPTERS: dict[str, Any] = (pointwise.ADAPTERS | reductions.ADAPTERS | shapes.ADAPTERS
                            | products.ADAPTERS | networks.ADAPTERS)

NOT_COMPARED: dict[str, str] = {}
