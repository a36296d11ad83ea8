"""Small compressed plates, what their epochs are, and processes that read them.

Processes that are spawned import this module: AnnData is imported where it writes.
"""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np

import scdataset_core as scd

CHUNK = 256  # stored counts: some 9 cells


def write_plate(path, seed=0, *, n_cells=300, n_genes=300, chunk=CHUNK):
    """Write cells whose counts are of one byte, but for some that need two."""
    import anndata as ad
    import scipy.sparse as sp

    rng = np.random.default_rng(seed)
    X = sp.random_array((n_cells, n_genes), density=0.1, format="csr", rng=rng)
    X.data = np.ceil(X.data * 200).astype(np.float32)
    X.data[::700] = 1000
    path = Path(path)
    ad.AnnData(sp.csr_matrix(X)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in ("X/data", "X/indices"):
            values = file[name][:]
            del file[name]
            chunks = (min(chunk, len(values)),)
            file.create_dataset(name, data=values, chunks=chunks, compression=1)
    return path


def loader_of(source, epoch=0, **options):
    settings = {"batch_size": 16, "fetch_factor": 2, "seed": 3} | options
    loader = scd.Loader(source, scd.BlockShuffling(4), **settings)
    loader.set_epoch(epoch)
    return loader


def digest(source, epoch=0, **options):
    """Return a digest of all batches of an epoch, bit for bit."""
    found = hashlib.sha256()
    for batch in loader_of(source, epoch, **options):
        add(found, batch)
    return found.hexdigest()


def read_without_warnings(source):
    """Return the digests of three epochs, in a process in which nothing may warn."""
    warnings.simplefilter("error")
    return [digest(source, epoch) for epoch in range(3)]


def add(found, batch):
    X = batch["X"]
    parts = (X.data, X.indices, X.indptr) if hasattr(X, "indptr") else (X,)
    for part in (batch["index"], *parts):
        part = np.ascontiguousarray(part)
        found.update(str((part.dtype, part.shape)).encode())
        found.update(part)


def start(script, *arguments, **options):
    """Start a Python process on a script, with the packages and this module to hand."""
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), str(root / "integrations")])
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    """Return the last line and the errors that a process printed; it must end well."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out.strip().rpartition("\n")[2], err


def in_fork(function, *arguments):
    """Return what a function returns in a forked process, which ends after it."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work():
        try:
            there.send(function(*arguments))
        except BaseException as error:
            there.send(error)

    process = context.Process(target=work)
    process.start()
    there.close()
    result = here.recv()
    process.join()
    if isinstance(result, BaseException):
        raise result
    assert process.exitcode == 0
    return result


def files_of(folder, *kinds):
    """Return the files of a cache's entries whose names end in one of some ways."""
    return sorted(
        path
        for path in Path(folder).glob("*-*/*")
        if path.is_file() and any(kind in path.name for kind in kinds)
    )
