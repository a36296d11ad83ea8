"""AnnData objects of minibatches; what the objects share is made once."""

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

    The index of genes and the labels of each column are made once: with 62,710 genes
    and 40,000 labels they cost many times what the values of a minibatch cost. All
    objects may share them, since an index of pandas cannot be changed in place; each
    object has a data frame of its own.

    Parameters
    ----------
    info
        Gene names and label vocabularies of the source.
    """

    def __init__(self, info: CellInfo) -> None:
        self.info = info
        self._var: pd.DataFrame | None = None  # as AnnData has checked it
        self._no_var: pd.DataFrame | None = None
        self._dtypes: dict[str, pd.CategoricalDtype] = {}

    def make(
        self, x: Any, obs: Mapping[str, npt.NDArray[Any]], names: npt.NDArray[Any]
    ) -> "AnnData":
        """Return an `AnnData` of some cells.

        Parameters
        ----------
        x
            The values, or several arrays by name. The first of several is X,
            ``layers/NAME`` of the same genes is a layer, and others are in `obsm`.
        obs
            Columns of obs: codes where the source has a vocabulary of the labels.
        names
            Names of the cells.
        """
        import pandas as pd

        columns = {
            name: self._make_column(name, values) for name, values in obs.items()
        }
        index = pd.Index(names.astype(object), dtype=object)
        frame = pd.DataFrame(columns, index=index)
        if not self.info.parts:
            return self._assemble(x, frame)
        first, *others = self.info.parts
        adata = self._assemble(x[first], frame)
        for name in others:
            folder, _, key = name.partition("/")
            same = np.array_equal(self.info.parts[name], self.info.var_names)
            held = adata.layers if folder == "layers" and same else adata.obsm
            label = key if folder in ("layers", "obsm") else folder
            held[label] = x[name]
        return adata

    def _make_column(self, name: str, values: npt.NDArray[Any]) -> Any:
        """Return a column of obs; codes become labels."""
        import pandas as pd

        if name not in self.info.categories:
            return values
        dtype = self._dtypes.get(name)
        if dtype is None:
            labels, ordered = self.info.categories[name], name in self.info.ordered
            dtype = pd.CategoricalDtype(labels, ordered)
            self._dtypes[name] = dtype
        return pd.Categorical.from_codes(values, dtype=dtype)

    def _assemble(self, x: Any, obs: "pd.DataFrame") -> "AnnData":
        """Return an `AnnData`; only the first one checks the genes.

        AnnData looks at every gene name when an object is made, which takes most of the
        time of a small one. So further objects are made without genes, and are then
        given those of the first.
        """
        import pandas as pd
        from anndata import AnnData

        if self._var is None:
            genes = pd.DataFrame(index=pd.Index(self.info.var_names, dtype=object))
            adata = AnnData(X=x, obs=obs, var=genes)
            self._no_var = pd.DataFrame(index=pd.Index([], dtype=object))
            self._var = _own(adata.var)
            return adata
        # Without var= AnnData makes a frame of its own, which takes twice as long.
        adata = AnnData(obs=obs, var=self._no_var)
        adata._var = _own(self._var)
        if adata.shape != x.shape:  # a hook changed X, or AnnData keeps genes elsewhere
            return AnnData(X=x, obs=obs, var=_own(self._var))
        adata.X = x
        return adata


def _own(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a frame with the same index, but names and columns of its own."""
    own = frame.copy(deep=False)
    own.index = frame.index.view()
    return own
