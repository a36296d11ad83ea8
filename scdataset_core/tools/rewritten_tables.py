"""The tables of cells and genes that `rewrite` writes, and what it leaves out."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingNameError
from ..sources import Source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find_left_out", "make_obs", "make_var"]

Rows = npt.NDArray[np.int64]


def make_obs(source: Source, rows: Rows) -> "pd.DataFrame":
    """Return the table of some cells, in any order, with the columns it carries."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in source.obs_columns:
        values = source.obs[name][rows]
        labels = source.categories.get(name)
        columns[name] = (
            values
            if labels is None
            else pd.Categorical.from_codes(
                values, pd.Index(labels), ordered=name in source.info.ordered
            )
        )
    return pd.DataFrame(columns, index=pd.Index(_names_of(source, rows)))


def _names_of(source: Source, rows: Rows) -> Any:
    """Return the names of cells, or their rows where there are none."""
    order = np.argsort(rows, kind="stable")
    names = source.read_names(rows[order])
    if names is None:
        return rows.astype(str).astype(object)
    back = np.empty(len(rows), object)
    back[order] = names
    return back


def make_var(part: Source) -> "pd.DataFrame":
    """Return the table of the genes, or their names alone."""
    import pandas as pd

    with suppress(MissingNameError):  # there is no such table, as in Parquet
        return part.var
    return pd.DataFrame(index=pd.Index(part.var_names))


def find_left_out(source: Source, places: Mapping[str, str]) -> list[str]:
    """Return what the (first) file holds beside what a source carries.

    Parameters
    ----------
    source
        The source.
    places
        The matrices that are written, by the names that they have.

    Returns
    -------
    names
        Matrices, obs columns (``"obs/drug"``), and ``"obs_names"``.
    """
    contents = source.contents
    if contents is None:
        return []
    written = set(places) if source.parts else {contents.x}
    left_out = [name for name in contents.matrices if name not in written]
    carried = set(source.obs_columns)
    left_out += [f"obs/{name}" for name in contents.obs if name not in carried]
    if source.read_names(np.zeros(1, np.int64)) is None:
        left_out.append("obs_names")
    return left_out
