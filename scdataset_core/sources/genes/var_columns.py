"""The table of the genes of a source: what all of its files say of them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .joins import GeneJoin

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["join_var"]


def join_var(
    genes: GeneJoin, tables: Iterable["pd.DataFrame"], files: Sequence[str]
) -> "pd.DataFrame":
    """Return one table of the genes of a source: what all files say of them.

    Parameters
    ----------
    genes
        Where the genes of each file are among those of the source.
    tables
        The table of each file; taken one at a time.
    files
        Their names, for errors.
    """
    import pandas as pd

    joined: dict[str, pd.Series[Any]] = {}
    known = np.zeros(len(genes.names), bool)
    whole = all(report.n_added == 0 for report in genes.report)
    for file, table in enumerate(tables):
        at = genes.stored_columns(file)
        if len(table.columns) and len(table) != genes.n_stored[file]:
            raise ValueError(
                f"{files[file]}: var has {len(table)} rows, and there are"
                f" {genes.n_stored[file]} genes: it changed since it was opened"
            )
        at = np.arange(genes.n_stored[file]) if at is None else at
        own = {
            str(name): _take_genes(table[name], at, whole=whole)
            for name in table.columns
        }
        if file == 0:
            joined = own
        else:
            joined = {
                name: _merge_columns(values, own[name], known, at >= 0)
                for name, values in joined.items()
                if name in own and _agree(values, own[name], known & (at >= 0))
            }
        known |= at >= 0
    index = pd.Index(genes.names, dtype=object)
    frame = pd.DataFrame({name: values.array for name, values in joined.items()})
    frame = frame.set_axis(index) if len(frame.columns) else pd.DataFrame(index=index)
    return frame if whole else frame.infer_objects()


def _take_genes(
    column: "pd.Series[Any]", at: npt.NDArray[np.int64], *, whole: bool
) -> "pd.Series[Any]":
    """Return a column at the genes of the source, None for one that is not there."""
    import pandas as pd

    values = column.reset_index(drop=True)
    if whole:
        return values.take(at).reset_index(drop=True)
    out = np.full(len(at), None, object)
    out[at >= 0] = values.astype(object).to_numpy()[at[at >= 0]]
    return pd.Series(out, dtype=object)


def _agree(
    first: "pd.Series[Any]", other: "pd.Series[Any]", both: npt.NDArray[np.bool_]
) -> bool:
    """Return whether two files say the same of the genes that both have."""
    a = first.astype(object)[both]
    b = other.astype(object)[both]
    same = (a == b) | (a.isna() & b.isna())
    return bool(same.all())


def _merge_columns(
    first: "pd.Series[Any]",
    other: "pd.Series[Any]",
    known: npt.NDArray[np.bool_],
    has: npt.NDArray[np.bool_],
) -> "pd.Series[Any]":
    """Return a column with what another file says of genes not known so far."""
    new = has & ~known
    return first.mask(new, other) if new.any() else first
