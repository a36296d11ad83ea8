"""Storage-aligned blocks where values and column ids have other chunks."""

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.sources.ranged.storage_blocks import (
    decoded_per_used,
    decoded_per_used_aligned,
)
from scdataset_core.sources.ranged.stored_source import StoredSource
from scdataset_core.storage import ReadContext

N_CELLS, N_GENES = 400, 60


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    x = sp.random_array(
        (N_CELLS, N_GENES), density=0.3, format="csr", dtype=np.float32, rng=rng
    )
    x.data[:] = rng.integers(1, 9, x.nnz)
    return x


def write(path, x, *, values, ids, value_dtype="f4", id_dtype="i4"):
    """Write X; `values` and `ids` are the options of the arrays."""
    ad.AnnData(x).write_h5ad(path)
    arrays = (
        ("data", x.data, value_dtype, values),
        ("indices", x.indices, id_dtype, ids),
    )
    with h5py.File(path, "r+") as file:
        for name, array, dtype, options in arrays:
            del file[f"X/{name}"]
            file.create_dataset(f"X/{name}", data=array.astype(dtype), **options)
    return path


def gzip(n):
    return {"chunks": (n,), "compression": "gzip"}


def plain(n):
    return {"chunks": (n,)}


LAYOUTS = [  # values, ids, elements in the chunks that blocks follow
    pytest.param(gzip(90), gzip(90), 90, id="the_same"),
    pytest.param(gzip(121), gzip(61), 121, id="tahoe"),
    pytest.param(gzip(50), gzip(99), 99, id="float64_values"),
    pytest.param(gzip(40), gzip(7), 40, id="small_ids"),
    pytest.param(gzip(3), gzip(500), 500, id="values_below_a_row"),
    pytest.param(plain(9), gzip(500), 9, id="only_ids_are_decoded"),
    pytest.param(gzip(9), plain(500), 9, id="only_values_are_decoded"),
    pytest.param(plain(121), plain(61), 121, id="nothing_is_decoded"),
    pytest.param({}, gzip(61), 61, id="values_in_one_piece"),
    pytest.param(gzip(121), {}, 121, id="ids_in_one_piece"),
]


@pytest.mark.parametrize(("values", "ids", "followed"), LAYOUTS)
def test_blocks_are_the_rows_that_start_inside_the_larger_chunks(
    tmp_path, x, values, ids, followed
):
    path = write(tmp_path / "a.h5ad", x, values=values, ids=ids, id_dtype="i8")
    source = scd.open([path, path])
    chunk = x.indptr[:-1] // followed
    firsts = np.flatnonzero(np.diff(chunk, prepend=-1))
    want = np.concatenate([firsts, firsts + N_CELLS])
    np.testing.assert_array_equal(source.block_starts, want)
    assert source.natural_block == max(1, round(followed * N_CELLS / x.nnz))


def test_data_in_one_piece_have_blocks_of_equal_size(tmp_path, x):
    path = write(tmp_path / "a.h5ad", x, values={}, ids={})
    source = scd.open(path)
    assert source.natural_block == N_CELLS
    np.testing.assert_array_equal(source.block_starts, [0])


@pytest.mark.parametrize(("values", "ids", "followed"), LAYOUTS)
def test_an_epoch_has_every_cell_once_and_right(tmp_path, x, values, ids, followed):
    path = write(tmp_path / "a.h5ad", x, values=values, ids=ids, id_dtype="i8")
    loader = scd.Loader(
        scd.open(path),
        scd.BlockShuffling("storage", chunks=2),
        batch_size=16,
        fetch_factor=2,
    )
    seen = []
    for batch in loader:
        assert (batch["X"] != x[batch["index"]]).nnz == 0
        seen.append(batch["index"])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(N_CELLS))


def x_of(source):
    """Return X of the one file."""
    assert isinstance(source, StoredSource)
    return source._xs[0]


def foretell(source, block_size):
    """Return what blocks anywhere decode for each byte that they use."""
    return decoded_per_used(source.x_arrays(), len(source), block_size)


def blocks_of(source, strategy):
    """Return the rows of each block of an epoch."""
    order = strategy.order(source, seed=0, epoch=0)
    starts = np.append(source.block_starts[:: strategy.chunks], len(source))
    rows = order.rows(0, len(order))
    new = np.isin(rows, starts)
    return np.split(rows, np.flatnonzero(new)[1:])


def counted(source, blocks):
    """Return the counters of reading every block alone."""
    with ReadContext(1) as context:
        form = source.form_of("csr")
        for rows in blocks:
            places = np.arange(len(rows))
            source.read_batches(rows, places, np.array([0, len(rows)]), form, context)
        return context.stats


@pytest.mark.parametrize("chunks", [1, 2, 4])
@pytest.mark.parametrize(
    ("values", "ids", "value_dtype", "id_dtype"),
    [
        (121, 61, "f4", "i8"),
        (90, 90, "f4", "i4"),
        (50, 99, "f8", "i4"),
        (50, 300, "f4", "i4"),
    ],
)
def test_no_more_is_decoded_than_is_stated(
    tmp_path, x, values, ids, value_dtype, id_dtype, chunks
):
    path = write(
        tmp_path / "a.h5ad",
        x,
        values=gzip(values),
        ids=gzip(ids),
        value_dtype=value_dtype,
        id_dtype=id_dtype,
    )
    source = scd.open(path)
    strategy = scd.BlockShuffling("storage", chunks=chunks)
    blocks = blocks_of(source, strategy)
    stats = counted(source, blocks)
    assert stats.bytes_used == x.nnz * (
        np.dtype(value_dtype).itemsize + np.dtype(id_dtype).itemsize
    )
    decoded = 0
    for chunk, dtype in ((values, value_dtype), (ids, id_dtype)):
        for rows in blocks:
            start, stop = x.indptr[rows[0]], x.indptr[rows[-1] + 1]
            touched = (stop - 1) // chunk - start // chunk + 1
            decoded += touched * chunk * np.dtype(dtype).itemsize
    assert stats.bytes_decoded == decoded
    ratio = stats.bytes_decoded / stats.bytes_used
    assert ratio <= 1 + 1 / chunks + 0.05  # the last block is short
    assert ratio == pytest.approx(
        decoded_per_used_aligned(x_of(source), chunks), rel=0.05
    )


@pytest.mark.parametrize("block_size", [1, 5, 16])
def test_what_blocks_anywhere_decode_is_foretold(tmp_path, x, block_size):
    path = write(tmp_path / "a.h5ad", x, values=gzip(121), ids=gzip(61), id_dtype="i8")
    source = scd.open(path)
    rows = np.arange(N_CELLS)
    blocks = [rows[i : i + block_size] for i in range(0, N_CELLS, block_size)]
    stats = counted(source, blocks)
    ratio = stats.bytes_decoded / stats.bytes_used
    assert ratio == pytest.approx(foretell(source, block_size), rel=0.05)


def test_dense_rows_lie_whole_in_chunks(tmp_path):
    values = np.random.default_rng(0).random((100, 8), np.float32)
    path = tmp_path / "a.h5ad"
    ad.AnnData(values).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=values, chunks=(10, 8), compression="gzip")
        file["X"].attrs.update(attributes)
    source = scd.open(path)
    assert decoded_per_used_aligned(x_of(source)) == 1.0
    assert foretell(source, 5) == pytest.approx(14 / 5)
    blocks = blocks_of(source, scd.BlockShuffling("storage"))
    stats = counted(source, blocks)
    assert stats.bytes_decoded == stats.bytes_used


def test_a_description_says_how_ids_lie_and_what_is_decoded(tmp_path, x):
    path = write(tmp_path / "a.h5ad", x, values=gzip(122), ids=gzip(61), id_dtype="i8")
    shown = " ".join(repr(scd.open(path)).split())
    assert "column ids, int64, in chunks of 61 elements" in shown
    # 16 cells have 288 elements: (288 + 121) * 4 and (288 + 60) * 8 bytes of 3,456.
    assert "blocks of 16 cells decode about 1.3 bytes for each that they use" in shown
    assert "blocks of a storage chunk 1.7" in shown


def test_nothing_is_said_of_decoding_where_nothing_is_decoded(tmp_path, x):
    path = write(tmp_path / "a.h5ad", x, values=plain(90), ids=plain(90))
    source = scd.open(path)
    assert foretell(source, 16) == decoded_per_used_aligned(x_of(source)) == 1.0
    assert "decode" not in repr(source)


def test_an_empty_file_decodes_nothing(tmp_path):
    path = write(
        tmp_path / "a.h5ad",
        sp.csr_array((0, 5), dtype=np.float32),
        values={"maxshape": (None,), **gzip(9)},
        ids={"maxshape": (None,), **gzip(9)},
    )
    source = scd.open(path)
    assert len(source.block_starts) == 0
    assert "0 cells" in repr(source)
