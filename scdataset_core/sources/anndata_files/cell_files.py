"""Where the cells, genes and labels of one file of AnnData's schema lie."""

from ...errors import FileFormatError
from ..genes.shared_names import SharedNames
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from .data_frames import StoredFrame
from .file_tree import FileTree
from .matrices import column_names, locate_x
from .reopened_file import ReopenedFile

__all__ = ["locate_cells"]


def locate_cells(
    tree: FileTree, options: OpenOptions, shared: SharedNames | None = None
) -> CellFile:
    """Return where the parts of one file lie, checked against each other.

    Parameters
    ----------
    tree
        The file, open.
    options
        What is wanted of it.
    shared
        Lists of genes of other files, one of which is taken where it is equal.
    """
    x = locate_x(tree, options.x)
    var_names = column_names(tree, options.x, x.n_vars, shared)
    table = StoredFrame(tree, "obs")
    names = table.index_text()
    if len(names) != x.n_obs:
        raise FileFormatError(
            f"{tree.file}: {options.x} has {x.n_obs} rows and obs names"
            f" {len(names)} cells"
        )
    columns = table.columns(options.obs, x.n_obs)
    return CellFile(
        tree.file,
        x,
        var_names,
        columns,
        names if options.obs_names else None,
        ReopenedFile(tree, options.x),
    )
