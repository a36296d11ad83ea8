"""Tools built on the loader: what the command line does, as functions.

They return plain data, which ``--json`` prints.

- :func:`bench` times a grid of settings, and other libraries beside them.
- :func:`fill_cache` decodes files once, into a cache.
- :func:`inspect` says what files hold, how it is stored, and what is wrong.
- :func:`rewrite` writes cells to a file that is made for shuffled reads.
- :func:`split` divides cells into parts for training and testing.
- :func:`suggest` suggests settings of a Loader from the layout alone.
- :func:`tune` times settings on the data and disk at hand.
- :func:`verify` reads everything in files, and names what is damaged.
"""

from ..suggestion import suggest
from .benching import bench
from .cache_filling import fill_cache
from .inspection import inspect
from .rewriting import rewrite
from .splitting import split
from .tuning import tune
from .verification import verify

__all__ = [
    "bench",
    "fill_cache",
    "inspect",
    "rewrite",
    "split",
    "suggest",
    "tune",
    "verify",
]
