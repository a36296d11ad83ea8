"""Dense rows of files of several types and layouts."""

import anndata as ad
import numpy as np
import pytest

import scdataset_core as scd


def plates(folder, *xs, **layout):
    paths = []
    for number, x in enumerate(xs):
        paths.append(folder / f"{number}.h5ad")
        ad.AnnData(x).write_h5ad(paths[-1], compression="gzip")
    return paths


def rechunked(path, chunks):
    import h5py

    with h5py.File(path, "r+") as file:
        x = file["X"][()]
        attributes = dict(file["X"].attrs)
        del file["X"]
        data = file.create_dataset("X", data=x, chunks=chunks, compression="gzip")
        data.attrs.update(attributes)


@pytest.mark.parametrize("genes", [None, [5, 7]])
@pytest.mark.parametrize("types", [("u1", "f4"), ("f8", "u1"), ("i2", "f4")])
def test_files_of_other_types_share_the_memory_that_chunks_are_decoded_in(
    tmp_path, genes, types
):
    rng = np.random.default_rng(0)
    xs = [
        rng.integers(0, 9, (n, 33)).astype(t)
        for n, t in zip((70, 40), types, strict=True)
    ]
    paths = plates(tmp_path, *xs)
    # Chunks that split columns, and of an odd number of bytes where those are bytes.
    rechunked(paths[0], (7, 13))
    rechunked(paths[1], (3, 9))
    source = scd.open(paths, genes=genes)
    expected = np.concatenate(xs).astype(source.dtype)
    if genes is not None:
        expected = expected[:, genes]
    for threads in (1, 2):
        loader = scd.Loader(
            source, scd.BlockShuffling(8), batch_size=16, threads=threads
        )
        for batch in loader:
            np.testing.assert_array_equal(batch["X"], expected[batch["index"]])


def test_arrays_of_odd_sizes_do_not_disturb_each_other(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.random((31, 21), np.float32)
    adata = ad.AnnData(x, layers={"detected": x < 0.5})
    adata.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    for names in (["X", "layers/detected"], ["layers/detected", "X"]):
        source = scd.open(tmp_path / "a.h5ad", x=names, genes=[3, 20])
        got = source.read(np.arange(31))["X"]
        np.testing.assert_array_equal(got["X"], x[:, [3, 20]])
        np.testing.assert_array_equal(got["layers/detected"], x[:, [3, 20]] < 0.5)


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ([-5], IndexError, "row -5 is outside the source's 31 rows"),
        ([0, 31], IndexError, "row 31 is outside the source's 31 rows"),
        ([3, 2], ValueError, "rows must not decrease, got 3 before 2"),
        ([0.5], ValueError, "1-D array of integers"),
        (np.array([2**64 - 1], "u8"), IndexError, "outside the source's 31 rows"),
    ],
)
def test_no_row_outside_reaches_the_memory_of_a_batch(tmp_path, rows, error, match):
    from scdataset_core.storage import ReadContext

    (path,) = plates(tmp_path, np.ones((31, 4), np.float32))
    source = scd.open(path)
    rows = np.array(rows)
    places, bounds = np.arange(len(rows)), np.array([0, len(rows)])
    with pytest.raises(error, match=match), ReadContext(1) as context:
        source.read_batches(rows, places, bounds, source.stored_form, context)


@pytest.mark.parametrize(
    ("places", "bounds", "match"),
    [
        ([0, 0, 2], [0, 3], r"places must be a permutation of range\(3\)"),
        ([0, 1, 3], [0, 3], r"places must be a permutation of range\(3\)"),
        ([0, 1], [0, 3], r"places must be a permutation of range\(3\)"),
        ([0, -2, 1], [0, 3], r"places must be a permutation of range\(3\)"),
        ([0, 1, 2], [0, 4], "bounds must go from 0 to 3"),
        ([0, 1, 2], [0, 2, 1, 3], "bounds must go from 0 to 3"),
        ([0, 1, 2], [1, 3], "bounds must go from 0 to 3"),
        ([0, 1, 2], [], "bounds must go from 0 to 3"),
    ],
)
def test_every_place_of_a_batch_gets_one_row(tmp_path, places, bounds, match):
    from scdataset_core.storage import ReadContext

    (path,) = plates(tmp_path, np.ones((31, 4), np.float32))
    source = scd.open(path)
    rows = np.arange(3)
    places, bounds = np.array(places), np.array(bounds)
    with pytest.raises(ValueError, match=match), ReadContext(1) as context:
        source.read_batches(rows, places, bounds, source.stored_form, context)
