"""The digest by which a saved state recognises the data that it belongs to."""

import hashlib
import json
from typing import Any

import numpy as np

__all__ = ["fingerprint"]


def fingerprint(facts: Any) -> str:  # Any: what JSON can hold, and arrays
    """Return a digest of facts about a source: of its contents, of no path or time.

    Parameters
    ----------
    facts
        Numbers, text, and lists and dicts of them; arrays count as lists, of text if
        they hold objects. The order of a dict does not matter.

    Examples
    --------
    >>> facts = {"rows": [3], "genes": np.array(["TP53"], object)}
    >>> fingerprint(facts) == fingerprint({"genes": ["TP53"], "rows": [3]})
    True
    """
    text = json.dumps(facts, sort_keys=True, default=_as_list).encode()
    return hashlib.sha256(text).hexdigest()[:32]


def _as_list(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a fingerprint is made of numbers and text, got {value!r}")
    if value.dtype == object:
        return [str(item) for item in value.tolist()]
    return value.tolist()
