"""Tools built on the loader: what the command line does, as functions.

They return plain data, which ``--json`` prints.

- :func:`bench` times a grid of settings, and other libraries beside them.
- :func:`cache` lists what a cache holds.
- :func:`clear_cache` removes what a cache keeps.
- :func:`demo` trains a small model in three orders, and compares them.
- :func:`fill_cache` decodes files once, into a cache.
- :func:`inspect` says what files hold, how it is stored, and what is wrong.
- :func:`make_data` writes synthetic plates.
- :func:`rewrite` writes cells to a file that is made for shuffled reads.
- :func:`split` divides cells into parts for training and testing.
- :func:`suggest` suggests settings of a Loader from the layout alone.
- :func:`tune` times settings on the data and disk at hand.
- :func:`verify` reads everything in files, and names what is damaged.
"""

from .benching import bench
from .cache_contents import cache, clear_cache
from .cache_filling import fill_cache
from .demonstration import demo, make_data
from .inspection import inspect
from .rewriting import rewrite
from .splitting import split
from .suggesting import suggest
from .tuning import tune
from .verification import verify

__all__ = [
    "bench",
    "cache",
    "clear_cache",
    "demo",
    "fill_cache",
    "inspect",
    "make_data",
    "rewrite",
    "split",
    "suggest",
    "tune",
    "verify",
]
