"""What the tests of `suggest` and `tune` ask for, of plates of a few hundred cells."""

from typing import Any


def options(**given: Any) -> dict[str, Any]:
    """Return arguments of both, with some replaced."""
    return {
        "memory": "10MB",
        "label": "plate",
        "min_entropy": 0.9,
        "batch_size": 16,
    } | given
