"""Minibatches as AnnData objects; what they share is made once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .info import CellInfo

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["AnnDataMaker"]


class AnnDataMaker:
    """Makes `AnnData` objects of cells of one source.

    The index of genes and the labels of each column are made once: of 62,710 genes and
    40,000 labels they cost many times what the values of a minibatch do. An index of
    pandas cannot be changed in place, so all objects may share them; each has a data
    frame of its own.

    Parameters
    ----------
    info
        Gene names and label vocabularies of the source.
    """

    def __init__(self, info: CellInfo) -> None:
        self.info = info
        self._var: pd.DataFrame | None = None  # as AnnData has it, checked there
        self._no_var: pd.DataFrame | None = None
        self._dtypes: dict[str, pd.CategoricalDtype] = {}

    def make(
        self, x: Any, obs: Mapping[str, npt.NDArray[Any]], names: npt.NDArray[Any]
    ) -> "AnnData":
        """Return an `AnnData` of some cells.

        Parameters
        ----------
        x
            The values, or several arrays by name: of these the first is X,
            ``layers/NAME`` of the same genes is a layer, and others are in `obsm`.
        obs
            Columns of labels, codes where the source has a vocabulary of them.
        names
            Names of the cells.
        """
        import pandas as pd

        columns = {name: self._column(name, values) for name, values in obs.items()}
        index = pd.Index(names.astype(object), dtype=object)
        frame = pd.DataFrame(columns, index=index)
        if not self.info.parts:
            return self._assembled(x, frame)
        first, *others = self.info.parts
        adata = self._assembled(x[first], frame)
        for name in others:
            folder, _, key = name.partition("/")
            same = np.array_equal(self.info.parts[name], self.info.var_names)
            held = adata.layers if folder == "layers" and same else adata.obsm
            label = key if folder in ("layers", "obsm") else folder
            held[label] = x[name]
        return adata

    def _column(self, name: str, values: npt.NDArray[Any]) -> Any:
        """Return a column of labels, decoded where it comes as codes."""
        import pandas as pd

        if name not in self.info.categories:
            return values
        dtype = self._dtypes.get(name)
        if dtype is None:
            labels, ordered = self.info.categories[name], name in self.info.ordered
            dtype = pd.CategoricalDtype(labels, ordered)
            self._dtypes[name] = dtype
        return pd.Categorical.from_codes(values, dtype=dtype)

    def _assembled(self, x: Any, obs: "pd.DataFrame") -> "AnnData":
        """Return an `AnnData`; the genes are checked for the first one alone.

        AnnData looks at every gene name when it is made, which takes most of the time
        of a small object. So one is made without genes, and is given those that
        another was made with.
        """
        import pandas as pd
        from anndata import AnnData

        if self._var is None:
            genes = pd.DataFrame(index=pd.Index(self.info.var_names, dtype=object))
            adata = AnnData(X=x, obs=obs, var=genes)
            self._no_var = pd.DataFrame(index=pd.Index([], dtype=object))
            self._var = _own(adata.var)
            return adata
        adata = AnnData(obs=obs, var=self._no_var)  # one made here costs twice as much
        adata._var = _own(self._var)
        if adata.shape != x.shape:  # a version that keeps genes elsewhere, or a hook
            return AnnData(X=x, obs=obs, var=_own(self._var))
        adata.X = x
        return adata


def _own(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a frame with the same index, whose names and columns are its own."""
    own = frame.copy(deep=False)
    own.index = frame.index.view()
    return own
