"""Other libraries, each as its users call it: open files, give an epoch of minibatches.

Every one yields minibatches of random cells with their X: scdataset and annbatch as CSR
or sparse arrays, AnnLoader as dense tensors, which is all that it has. Each is used in
the way that is quickest for X alone.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, redirect_stderr
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from .timing import Epoch

__all__ = ["RIVALS", "Rival", "convert_for_annbatch"]

ZARRS = "zarrs.ZarrsCodecPipeline"


class Rival(NamedTuple):
    """Another library.

    Parameters
    ----------
    name
        What its users call it.
    packages
        What must be installed, by the names that Python imports.
    install
        The command that installs it.
    open
        Returns the epochs of some files, in blocks and fetches of a size.
    random_only
        Whether it knows no blocks and fetches: it reads cells one by one.
    converts
        Whether it reads a copy of its own.
    """

    name: str
    packages: tuple[str, ...]
    install: str
    open: Callable[[Sequence[str], int, int, int], Epoch]
    random_only: bool = False
    converts: bool = False

    @property
    def version(self) -> str:
        """The version that is installed, of its first package."""
        return version(self.packages[0])

    def missing(self) -> list[str]:
        """Return what would have to be installed."""
        return [name for name in self.packages if find_spec(name) is None]


def open_scdataset(
    paths: Sequence[str], block_size: int, fetch_factor: int, batch_size: int
) -> Epoch:
    """Open files with scdataset; a fetch is the `.X` of AnnCollection's view."""
    from scdataset import BlockShuffling, scDataset

    dataset = scDataset(
        _backed_collection(paths),
        BlockShuffling(block_size=block_size),
        batch_size=batch_size,
        fetch_factor=fetch_factor,
        fetch_transform=lambda view: view.X,
        seed=0,
    )
    return lambda: _sizes(dataset, lambda batch: batch)


def open_annloader(
    paths: Sequence[str], block_size: int, fetch_factor: int, batch_size: int
) -> Epoch:
    """Open files with AnnLoader: cells one by one, dense tensors."""
    from anndata.experimental import AnnLoader

    loader = AnnLoader(_backed_collection(paths), batch_size=batch_size, shuffle=True)
    return lambda: _sizes(loader, lambda batch: batch.X)


def open_annbatch(
    paths: Sequence[str], block_size: int, fetch_factor: int, batch_size: int
) -> Epoch:
    """Open a collection that annbatch converted, the only one of `paths`."""
    import anndata
    import zarr
    from annbatch import DatasetCollection, Loader

    if find_spec("zarrs") is not None:
        zarr.config.set({"codec_pipeline.path": ZARRS})
    # A buffer must be whole minibatches; where the block does not divide it, the next
    # larger buffer.
    n_blocks = -(-fetch_factor * batch_size // block_size)
    while n_blocks * block_size % batch_size:
        n_blocks += 1
    loader = Loader(
        chunk_size=block_size,
        preload_nchunks=n_blocks,
        batch_size=batch_size,
        shuffle=True,
    )
    loader.use_collection(
        DatasetCollection(paths[0]),
        load_adata=lambda group: anndata.AnnData(
            X=anndata.io.sparse_dataset(group["X"])
        ),
    )
    return lambda: _sizes(loader, lambda batch: batch["X"])


def convert_for_annbatch(
    paths: Sequence[str], folder: str | None, stack: ExitStack
) -> str:
    """Write annbatch's converted, shuffled copy of files; return where it is.

    Parameters
    ----------
    paths
        The files.
    folder
        A folder that must not be there yet, and is kept; None: one for as long as
        `stack` is open.

    Raises
    ------
    FileExistsError
        If `folder` is there.
    """
    import zarr
    from annbatch import DatasetCollection

    if folder is None:
        home = tempfile.TemporaryDirectory(prefix="scdataset-bench-")
        target = Path(stack.enter_context(home), "annbatch.zarr")
    else:
        target = Path(folder)
        if target.exists():
            raise FileExistsError(
                17, "annbatch's copy goes to a folder that is not there yet", folder
            )
    if find_spec("zarrs") is not None:
        zarr.config.set({"codec_pipeline.path": ZARRS})
    with ExitStack() as quiet:
        quiet.enter_context(warnings.catch_warnings(action="ignore"))  # of zarr
        if not sys.stderr.isatty():  # its bars are for terminals
            quiet.enter_context(redirect_stderr(StringIO()))
        DatasetCollection(str(target)).add_adatas(list(paths), shuffle=True)
    return str(target)


def _backed_collection(paths: Sequence[str]) -> Any:  # Any: anndata has no types
    import anndata
    from anndata.experimental import AnnCollection

    with warnings.catch_warnings(action="ignore"):  # that it is experimental
        files = [anndata.read_h5ad(path, backed="r") for path in paths]
        return AnnCollection(files, join_vars="inner")


def _sizes(
    batches: Any, x_of: Callable[[Any], Any]
) -> Generator[int, None, None]:  # Any: theirs
    with warnings.catch_warnings(action="ignore"):
        for batch in batches:
            yield int(x_of(batch).shape[0])


RIVALS = {
    "scdataset": Rival(
        "scdataset", ("scdataset", "anndata"), "pip install scDataset", open_scdataset
    ),
    "annloader": Rival(
        "AnnLoader",
        ("anndata", "torch"),
        "pip install anndata torch",
        open_annloader,
        random_only=True,
    ),
    "annbatch": Rival(
        "annbatch",
        ("annbatch",),
        "pip install 'annbatch[zarrs]', on Python 3.12 or later",
        open_annbatch,
        converts=True,
    ),
}
