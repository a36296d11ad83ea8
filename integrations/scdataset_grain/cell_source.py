"""CellSource: single cells by number, for Grain's own sampling. The slow path."""

import operator
from typing import Any, SupportsIndex

import numpy as np

from scdataset_core import Source

__all__ = ["CellSource"]


class CellSource:
    """Single cells by number: a random access data source for Grain.

    For ``grain.MapDataset.source(...)`` and for ``grain.DataLoader`` with an
    ``IndexSampler``. Each cell is a read of its own, so this is far slower than
    `BatchIterDataset`, which reads blocks; it serves small data, evaluation, and
    pipelines whose order nothing but Grain can make.

    Parameters
    ----------
    source
        What ``scdataset_core.open`` returned.

    Raises
    ------
    TypeError
        If `source` is not one.

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
            Its row number, in ``[0, len(self))``.

        Returns
        -------
        cell
            ``X``, a dense row ``(n_genes,)``; ``obs``, a dict of scalars; ``index``.

        Raises
        ------
        IndexError
            If there is no such row.
        TypeError
            If `index` is no integer.
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
