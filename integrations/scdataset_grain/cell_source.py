"""CellSource gives single cells by number, for Grain's own sampling; this is slow."""

import operator
from typing import Any, SupportsIndex

import numpy as np

from scdataset_core import Source

__all__ = ["CellSource"]


class CellSource:
    """A random access data source for Grain, of single cells by number.

    Give it to ``grain.MapDataset.source(...)``, or to ``grain.DataLoader`` with an
    ``IndexSampler``. Each cell is read by itself, so this is far slower than
    `BatchIterDataset`, which reads blocks. It suits small data, evaluation, and
    pipelines whose order only Grain can make.

    Parameters
    ----------
    source
        The result of ``scdataset_core.open``.

    Raises
    ------
    TypeError
        If `source` is not such a source.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad", obs=["drug"])
    >>> cell = CellSource(source)[7]
    >>> cell["X"].shape, cell["obs"]["drug"].dtype.name, int(cell["index"])
    ((300,), 'int32', 7)
    """

    def __init__(self, source: Source) -> None:
        if not isinstance(source, Source):
            raise TypeError(
                f"source must be what scdataset_core.open returned, got"
                f" {type(source).__name__}"
            )
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Return one cell.

        Parameters
        ----------
        index
            Row number of the cell, in ``[0, len(self))``.

        Returns
        -------
        cell
            ``X``, a dense row ``(n_genes,)``; ``obs``, a dict of scalars; ``index``.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If `index` is not an integer.
        """
        cells = self._source.read(np.array([operator.index(index)], np.int64))
        X = cells["X"]
        return {
            "X": X[0] if isinstance(X, np.ndarray) else X.toarray()[0],
            "obs": {name: values[0] for name, values in cells["obs"].items()},
            "index": cells["index"][0],
        }

    def __repr__(self) -> str:
        return f"CellSource({self._source!r})"
