"""Zarr stores as tests need them: written by AnnData, cut again, edited by hand."""

import json
import warnings
from pathlib import Path

import anndata as ad
import pytest

zarr = pytest.importorskip("zarr", minversion="3")


def write(path, adata, *, version=3, shards=False):
    """Write a store as AnnData does."""
    with (
        ad.settings.override(zarr_write_format=version, auto_shard_zarr_v3=shards),
        warnings.catch_warnings(),
    ):
        # AnnData's advice to write version 3, and zarr's on consolidated metadata.
        warnings.simplefilter("ignore")
        adata.write_zarr(path)
    return path


def recut(path, name, *, chunks, shards=None, dtype=None, **options):
    """Write one array of a store again, in other chunks."""
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    old = root[name]
    values, attrs = old[...], dict(old.attrs)
    new = root.create_array(
        name,
        shape=values.shape,
        dtype=dtype or values.dtype,
        chunks=chunks,
        shards=shards,
        overwrite=True,
        **options,
    )
    new[...] = values
    new.attrs.update(attrs)
    forget_consolidated(path)


def forget_consolidated(path):
    """Remove the copy of all metadata, which no longer holds."""
    Path(path, ".zmetadata").unlink(missing_ok=True)
    described = Path(path, "zarr.json")
    if described.exists():
        metadata = json.loads(described.read_text())
        metadata.pop("consolidated_metadata", None)
        described.write_text(json.dumps(metadata))


def edit(path, **changes):
    """Change entries of an array's description."""
    metadata = json.loads(Path(path).read_text())
    metadata.update(changes)
    Path(path).write_text(json.dumps(metadata))
