"""The objects of the AnnData family: `AnnData`, `AnnCollection` and `MuData`."""

from typing import Any

from ..base import Source
from ..format_declaration import Format, comes_from
from ..options import OpenOptions

__all__ = ["ANNCOLLECTIONS", "ANNDATAS", "MUDATAS"]


def _is_mudata(obj: object) -> bool:
    """Return whether an object is a `MuData`."""
    if not comes_from(obj, "mudata"):
        return False
    from mudata import MuData

    return isinstance(obj, MuData)


def _is_anndata(obj: object) -> bool:
    """Return whether an object is an `AnnData`."""
    if not comes_from(obj, "anndata"):
        return False
    from anndata import AnnData

    return isinstance(obj, AnnData)


def _is_collection(obj: object) -> bool:
    """Return whether an object is an `AnnCollection`, or a view of one."""
    if not comes_from(obj, "anndata"):
        return False
    # By name: importing anndata.experimental would import torch, where there is one.
    names = {cls.__name__ for cls in type(obj).__mro__}
    return not names.isdisjoint({"AnnCollection", "AnnCollectionView"})


# Any: objects of packages that are not imported here.
def _open_mudata(mdata: Any, options: OpenOptions) -> Source:
    from .mudata_object import open_mudata

    return open_mudata(mdata, options)


def _open_anndata(adata: Any, options: OpenOptions) -> Source:
    from .anndata_object import open_anndata

    return open_anndata(adata, options)


def _open_collection(collection: Any, options: OpenOptions) -> Source:
    from .anncollection import open_collection

    return open_collection(collection, options)


MUDATAS = Format("a MuData", _is_mudata, _open_mudata)
ANNDATAS = Format("an AnnData", _is_anndata, _open_anndata)
ANNCOLLECTIONS = Format("an AnnCollection", _is_collection, _open_collection)
