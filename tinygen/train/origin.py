"""Where the files of a run come from: the record that goes into them, and `tinygen inspect`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..provenance import Found, Provenance, ProvenanceError, read
from ..serialization import DamagedFileError
from .errors import TrainingError, UsageError

__all__ = ["data_name", "inspect", "origin"]

UNKNOWN = "not stated: whoever chose the training data knows its terms"
LABELS = {"software": "made by", "licence": "licence", "model": "model", "seed": "seed",
          "data": "trained on", "step": "updates"}


def origin(config: Mapping[str, Any], seed: int | None, step: int | None = None,
           **more: Any) -> Provenance:
    """The record of a file that a run made, from the run's config.

    Args:
        config: what config.json holds.
        seed: of the random numbers that the file was made from.
        more: further entries; those that are None are left out.
    """
    from ..data.catalog import licence_of

    options = config.get("options") or {}
    data = data_name(options["data"]) if "data" in options else None
    terms = licence_of(data) if data and data == options["data"] else None   # no folder's path
    licence = f"as its training data: {terms}" if terms else UNKNOWN
    if seed != config.get("seed"):
        more["training_seed"] = config.get("seed")
    return Provenance(str(config.get("model") or "unknown"), seed, licence, data, step,
                      {k: v for k, v in more.items() if v is not None})


def data_name(data: str) -> str:
    """The name of a data set, or of a folder or file alone: where it lay is nobody's business."""
    return Path(data).name or "a folder"


def inspect(path: str, as_json: bool) -> None:
    """`tinygen inspect`: print the record of a file."""
    place = Path(path)
    if place.is_dir():
        raise UsageError(f"{path} is a folder; give a file in it, such as samples.png or a "
                         "checkpoint")
    try:
        found = read(place)
    except (ProvenanceError, DamagedFileError) as error:
        raise TrainingError(f"{path}: {error}") from None
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror or error}") from None
    if found is None:
        raise TrainingError(f"{path} carries no record of where it comes from: it was not made by "
                            "tinygen, or the record was removed")
    print(json.dumps({**found.record, "unchanged": found.unchanged}, ensure_ascii=False, indent=2)
          if as_json else _report(path, found))


def _report(path: str, found: Found) -> str:
    record = dict(found.record)
    generated = record.pop("generated", None)
    state = {True: "as it was when the record was written",
             False: "CHANGED since the record was written",
             None: "not known: the record has no hash"}[found.unchanged]
    lines = {"file": path, "generated": "by a model" if generated else "not stated"}
    lines |= {LABELS[k]: record.pop(k) for k in LABELS if k in record}
    lines |= {**record, "content": state}
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}}  {value}" for name, value in lines.items())
