"""Options of stores whose requests are tried again at once."""

from datetime import timedelta
from typing import Any

QUICK = {
    "retry_config": {
        "max_retries": 2,
        "backoff": {"init_backoff": timedelta(milliseconds=1)},
    }
}


def options(**more: Any) -> dict[str, Any]:
    """Return the arguments of `open` for a URL, with more options of the store."""
    return {"storage_options": QUICK | more}
