"""The hooks of a Loader: functions of the user's, or transforms, that it calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .cells import take
from .sources.base import Source

__all__ = ["Hooks", "check_with_source", "fill_rows"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hooks:
    """The four hooks of the paper. Any: a hook may return what it likes.

    Parameters
    ----------
    fetch_callback
        ``fetch_callback(collection, rows)``: read sorted rows.
    fetch_transform
        ``fetch_transform(fetched)``: change what a fetch read.
    batch_callback
        ``batch_callback(fetched, positions)``: take a minibatch from it.
    batch_transform
        ``batch_transform(batch)``: change a minibatch.
    """

    fetch_callback: Callable[[Any, Rows], Any] | None = None
    fetch_transform: Callable[[Any], Any] | None = None
    batch_callback: Callable[[Any, Rows], Any] | None = None
    batch_transform: Callable[[Any], Any] | None = None

    @property
    def on_fetches(self) -> bool:
        """Whether a hook is given whole fetches."""
        return self.fetch_callback is not None or self.fetch_transform is not None

    def select(self, fetched: Any, positions: Rows) -> Any:
        """Return the minibatch at `positions` of what a fetch read."""
        if self.batch_callback is not None:
            return self.batch_callback(fetched, positions)
        try:
            return take(fetched, positions)
        except (TypeError, ValueError) as error:
            kind = type(error)
            if kind not in (TypeError, ValueError):  # it says more by its own type
                raise
            raise kind(f"{error}: {self._why_not_taken(fetched)}") from error

    def _why_not_taken(self, fetched: Any) -> str:
        """Return what to do about a fetch of which no minibatch can be taken."""
        if fetched is None and self.on_fetches:
            last = "transform" if self.fetch_transform is not None else "callback"
            return (
                f"fetch_{last} gave None; let it return the fetch, what it changes in"
                " place, too"
            )
        if getattr(fetched, "isbacked", False):
            return (
                "rows of an AnnData in a file cannot be divided into minibatches; give"
                " scdataset_core.open(adata), which reads the file in place, or"
                " fetch_transform=lambda fetched: fetched.to_memory()"
            )
        return (
            f"this is what fetched[positions] says of a {type(fetched).__name__}; a"
            " batch_callback(fetched, positions) may take the minibatch out of it"
        )

    def transform_fetch(self, read: Any) -> Any:
        """Return what `fetch_transform` makes of what a fetch read."""
        return read if self.fetch_transform is None else self.fetch_transform(read)

    def transform_batch(self, batch: Any) -> Any:
        """Return what `batch_transform` makes of a minibatch."""
        return batch if self.batch_transform is None else self.batch_transform(batch)


def check_with_source(hooks: Hooks, source: Source) -> None:
    """Let hooks that can tell say whether they go with the genes of a source.

    Such a hook has a method ``check_source``, as the transforms of this library have.
    After a hook that has none, the genes are not known.
    """
    if hooks.fetch_callback is not None or hooks.batch_callback is not None:
        return
    for hook in (hooks.fetch_transform, hooks.batch_transform):
        check = getattr(hook, "check_source", None)
        if check is not None:
            check(source)
        elif hook is not None:
            return


def fill_rows(
    parts: Mapping[str, Any], n_rows: int, fill: Callable[[Any, int], Any], n_more: int
) -> dict[str, Any]:
    """Return the parts of a batch that a hook added, filled where they have its rows.

    Parameters
    ----------
    parts
        Anything by name; arrays of `n_rows` rows and mappings of such are filled.
    n_rows
        Rows of the batch.
    fill
        Gives an array, or a mapping of several, with a number of empty rows after it.
    n_more
        How many rows to add.
    """
    filled = dict(parts)
    for name, part in parts.items():
        if isinstance(part, Mapping):
            filled[name] = fill_rows(part, n_rows, fill, n_more)
        elif isinstance(part, np.ndarray) and part.shape[:1] == (n_rows,):
            filled[name] = fill(part, n_more)
    return filled
