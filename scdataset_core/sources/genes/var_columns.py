"""What a file or object holds besides the matrix that is read: names, and its var."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..anndata_files.data_frames import Table
from ..anndata_files.file_tree import FileTree
from ..anndata_files.matrices import has_matrix, var_path
from ..contents import Contents
from ..obs.columns import LabelColumn, NumberColumn, check_codes
from ..obs.text import TextCodes
from .joins import GeneJoin

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HeldPlace", "TreePlace", "join_var"]


@dataclass(frozen=True)
class TreePlace:
    """A file of AnnData's layout, opened again when it is asked.

    Parameters
    ----------
    tree
        The file.
    x
        The matrix that is read from it.
    """

    tree: FileTree
    x: str

    def contents(self) -> Contents:
        """Return the names of what is there, from descriptions alone."""
        with self.tree.again() as tree:
            obsm = tree.find("obsm")
            fields = getattr(obsm, "dtype", None)  # of records, before AnnData 0.7
            names = obsm if fields is None else fields.names
            path = var_path(tree, self.x)
            return Contents(
                self.x,
                obs=tuple(Table(tree, "obs").column_names),
                var=() if path is None else tuple(Table(tree, path).column_names),
                layers=tuple(tree.group("layers") or ()),
                obsm=tuple(names or ()),
                has_x=has_matrix(tree, "X"),
                has_raw=has_matrix(tree, "raw/X"),
            )

    def var(self) -> "pd.DataFrame":
        """Return the table of the genes, in the order of the file."""
        import pandas as pd

        with self.tree.again() as tree:
            path = var_path(tree, self.x)
            if path is None:
                return pd.DataFrame()
            table = Table(tree, path)
            columns = {name: table.column(name) for name in table.column_names}
            held = {name: _held(column) for name, column in columns.items()}
            names = table.index()
        known = {name: values for name, values in held.items() if values is not None}
        return pd.DataFrame(known, index=names)


@dataclass(frozen=True)
class HeldPlace:
    """An AnnData in memory: the names of what it held, and its var.

    Parameters
    ----------
    held
        The names.
    table
        Its var, or that of raw.
    """

    held: Contents
    table: "pd.DataFrame" = field(repr=False)

    def contents(self) -> Contents:
        """Return the names of what was there."""
        return self.held

    def var(self) -> "pd.DataFrame":
        """Return the table of the genes."""
        return self.table


def _held(column: Any) -> Any:  # Any: a Column, and an array of NumPy's or pandas'
    """Return a column in memory; None if it cannot be had."""
    import pandas as pd

    if isinstance(column, LabelColumn):
        codes = column.codes
        if isinstance(codes, TextCodes):
            return np.array([*codes.text.read(0, len(codes.text))], object)
        read = check_codes(codes.read(0, codes.shape[0]), 0, column=column)
        return pd.Categorical.from_codes(
            read, categories=column.labels, ordered=column.ordered
        )
    if isinstance(column, NumberColumn):
        values = column.values.read(0, column.values.shape[0])
        if column.mask is None or not column.any_missing():
            return values
        out = values.astype(np.float64)
        out[column.mask.read(0, len(out)).astype(bool)] = np.nan
        return out
    return None


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
            str(name): _taken(table[name], at, whole=whole) for name in table.columns
        }
        if file == 0:
            joined = own
        else:
            joined = {
                name: _merged(values, own[name], known, at >= 0)
                for name, values in joined.items()
                if name in own and _agree(values, own[name], known & (at >= 0))
            }
        known |= at >= 0
    index = pd.Index(genes.names, dtype=object)
    frame = pd.DataFrame({name: values.array for name, values in joined.items()})
    frame = frame.set_axis(index) if len(frame.columns) else pd.DataFrame(index=index)
    return frame if whole else frame.infer_objects()


def _taken(
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


def _merged(
    first: "pd.Series[Any]",
    other: "pd.Series[Any]",
    known: npt.NDArray[np.bool_],
    has: npt.NDArray[np.bool_],
) -> "pd.Series[Any]":
    """Return a column with what another file says of genes not known so far."""
    new = has & ~known
    return first.mask(new, other) if new.any() else first
