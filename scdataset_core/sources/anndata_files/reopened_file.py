"""What a file of AnnData's schema holds besides its cells, read when it is asked."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...storage.isolation import call_isolated, is_child
from ..contents import Contents
from ..obs.columns import Column, LabelColumn, NumberColumn, check_codes
from ..obs.text import TextCodes
from .data_frames import StoredFrame
from .file_tree import FileTree
from .matrices import has_matrix, var_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReopenedFile"]


@dataclass(frozen=True)
class ReopenedFile:
    """A file of AnnData's schema, which is opened again for each question.

    Parameters
    ----------
    tree
        The file.
    x
        The matrix that is read from it.
    isolated
        Whether the file may be opened in the child process alone.
    """

    tree: FileTree
    x: str
    isolated: bool = field(default_factory=is_child)

    def contents(self) -> Contents:
        """Return the names of what the file holds, from descriptions alone."""
        if self.isolated and not is_child():
            return call_isolated(self.contents, file=self.tree.file)
        with self.tree.reopen() as tree:
            obsm = tree.find("obsm")
            fields = getattr(obsm, "dtype", None)  # of records, before AnnData 0.7
            names = obsm if fields is None else fields.names
            path = var_path(tree, self.x)
            return Contents(
                self.x,
                obs=tuple(StoredFrame(tree, "obs").column_names),
                var=() if path is None else tuple(StoredFrame(tree, path).column_names),
                layers=tuple(tree.group("layers") or ()),
                obsm=tuple(names or ()),
                has_x=has_matrix(tree, "X"),
                has_raw=has_matrix(tree, "raw/X"),
            )

    def var(self) -> "pd.DataFrame":
        """Return the data frame of the genes, in the order of the file."""
        import pandas as pd

        names, columns = self._locate_var()
        held = {name: _in_memory(column) for name, column in columns.items()}
        known = {name: values for name, values in held.items() if values is not None}
        return pd.DataFrame(known, index=names)

    def _locate_var(self) -> "tuple[npt.NDArray[np.object_] | None, dict[str, Column]]":
        """Return the names of the genes, and where their columns lie."""
        if self.isolated and not is_child():
            return call_isolated(self._locate_var, file=self.tree.file)
        with self.tree.reopen() as tree:
            path = var_path(tree, self.x)
            if path is None:
                return None, {}
            table = StoredFrame(tree, path)
            columns = {name: table.column(name) for name in table.column_names}
            return table.index(), columns


def _in_memory(column: Any) -> Any:  # Any: a Column, and an array of NumPy's or pandas'
    """Return all values of a column; None if the column is unreadable."""
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
