"""Sets of the plates' cells for the tests of group sampling."""

import json
from typing import Any

import numpy as np

CONTROLLED: dict[str, Any] = {
    "control": {"drug": "DMSO"},
    "match": ["cell_line", "plate"],
}


def sets_of(batch: dict[str, Any], column: str, set_size: int) -> np.ndarray:
    """Return the codes of a column, a row for each set."""
    return batch["obs"][column].reshape(-1, set_size)


def as_text(batch: dict[str, Any]) -> str:
    """Return all that a minibatch holds but X."""
    control = batch.get("control", {"index": np.empty(0)})
    parts = [batch["index"], batch["group"], control["index"]]
    return json.dumps([part.tolist() for part in parts])
