"""What all transforms are: hooks that change the X of a batch, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ..cells import Cells
from ..checks import check_count
from ..errors import nearest
from ..hook_epoch import find_hook_epoch, in_epoch
from ..permutation import Purpose, derive_key, hash_numbers
from .layouts import is_padded, is_tokens

__all__ = ["Hook", "RowsOfBatch"]

T = TypeVar("T")

_OPTIONAL = {"x", "n_vars"}  # options that repr leaves out where they are not given


@dataclass(frozen=True)
class RowsOfBatch:
    """What a transform knows of the rows of X besides X.

    Parameters
    ----------
    index
        Global row numbers, shape ``(n_rows,)``; None where only X was given.
    n_vars
        Number of genes, where the batch tells it.
    """

    index: npt.NDArray[np.int64] | None
    n_vars: int | None

    def keys(self, *, seed: int, purpose: Purpose) -> npt.NDArray[np.uint64]:
        """Return a key for the randomness of each row, shape ``(n_rows,)``.

        It is a hash of (seed, epoch, purpose, global row): the same row has the same
        key for any number of ranks and workers, and another one in another epoch.

        Raises
        ------
        TypeError
            If the global rows are not known.
        """
        if self.index is None:
            raise TypeError(
                "random numbers are drawn for the global rows of a batch, and only X"
                ' was given; give the batch, with "X" and "index"'
            )
        key = derive_key(seed, find_hook_epoch(), purpose)
        return hash_numbers(self.index, key=key)


@dataclass(frozen=True, repr=False, eq=False)
class Hook:
    """A transform of X, for ``fetch_transform`` or ``batch_transform``.

    Parameters
    ----------
    x
        Where X is several arrays: the name of the one that is changed.
    """

    # The function that makes it; and the key under which X stays as it was, if any.
    name: ClassVar[str]
    keeps: ClassVar[str | None] = None

    x: str | None

    def __post_init__(self) -> None:
        if self.x is not None and not isinstance(self.x, str):
            raise TypeError(
                f"{self.name}: x must be the name of one of several arrays, got"
                f" {self.x!r}"
            )

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        """Return what becomes of one X; memory of `x` is read only."""
        raise NotImplementedError

    def check_genes(self, n_vars: int) -> None:
        """Raise if the hook does not go with X of `n_vars` genes."""

    def check_source(self, source: Any) -> None:  # Any: a Source, a room above this one
        """Raise if the hook does not go with the genes of a source.

        A Loader calls this when it is made.
        """
        parts = source.info.parts
        if not parts and self.x is not None:
            raise self._not_several()
        n_vars = len(parts[self._find_part(parts)]) if parts else source.shape[1]
        self._call(self.check_genes, n_vars)

    def __call__(self, batch: Any, epoch: int | None = None) -> Any:
        """Return the batch with its X changed.

        Parameters
        ----------
        batch
            A batch or `Cells`: a mapping with ``"X"`` and ``"index"``; or X alone. A
            batch of controls in it, under ``"control"``, is changed too.
        epoch
            The epoch that random numbers are for; by default that of the Loader which
            calls the hook, and 0 where none does.
        """
        if epoch is not None:
            check_count("epoch", epoch, least=0)
            with in_epoch(epoch):
                return self(batch)
        if not isinstance(batch, Mapping) or is_padded(batch) or is_tokens(batch):
            return self._call(self.change, batch, RowsOfBatch(None, None))
        if "X" not in batch:
            raise TypeError(
                f'{self.name} takes a batch, which has "X"; got a mapping of'
                f" {', '.join(map(repr, batch)) or 'nothing'}"
            )
        before = batch["X"]
        new, kept = self._change_x(batch)
        parts = {"X": new}
        if self.keeps is not None:
            parts[self.keeps] = kept
        if isinstance(batch.get("control"), Mapping):
            parts["control"] = self(batch["control"])
        if isinstance(batch, Cells) and set(parts) == {"X"}:
            return batch if new is before else batch.replace(X=new)
        return {**batch, **parts}

    def _change_x(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the X of a batch with the array wanted changed, and that array."""
        x, index = batch["X"], batch.get("index")
        info = batch.info if isinstance(batch, Cells) else None
        if isinstance(x, Mapping) and not is_padded(x) and not is_tokens(x):
            part = self._find_part(x)
            names = None if info is None else info.parts.get(part)
            n_vars = None if names is None else len(names)
            new = self._call(self.change, x[part], RowsOfBatch(index, n_vars))
            return {**x, part: new}, x[part]
        if self.x is not None:
            raise self._not_several()
        n_vars = None if info is None else len(info.var_names)
        return self._call(self.change, x, RowsOfBatch(index, n_vars)), x

    def _call(self, method: Callable[..., T], *arguments: Any) -> T:
        """Call a method of this hook, whose errors do not name the hook."""
        try:
            return method(*arguments)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def _find_part(self, parts: Mapping[str, Any]) -> str:
        """Return the name of the array that is changed, one of several."""
        if self.x is None:
            names = ", ".join(f'"{name}"' for name in parts)
            raise ValueError(
                f"{self.name}: X is several arrays, {names}; say which one is meant,"
                f' {self.name}(..., x="{next(iter(parts), "X")}")'
            )
        if self.x not in parts:
            raise ValueError(
                f'{self.name}: x is "{self.x}", and X has no array of that name;'
                f" {nearest(self.x, list(parts))}"
            )
        return self.x

    def _not_several(self) -> ValueError:
        return ValueError(
            f'{self.name}: x is "{self.x}", and X is one array here; leave x out'
        )

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={_show(getattr(self, field.name))}"
            for field in fields(self)
            if field.repr and (field.name not in _OPTIONAL or getattr(self, field.name))
        ]
        return f"{self.name}({', '.join(shown)})"


def _show(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"<{value.size:,} values>"
    return repr(value)
