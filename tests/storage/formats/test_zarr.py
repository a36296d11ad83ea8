"""Arrays of zarr stores, with zarr-python's own reading as the oracle."""

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scdataset_core.errors import CorruptFileError
from scdataset_core.storage import ReadContext, StoredArray, register_decoder
from scdataset_core.storage.decoding import blosc
from scdataset_core.storage.decoding.compressors import blosc_functions
from scdataset_core.storage.formats.zarr import ZarrLibrary
from tests.storage.oracle import check

zarr = pytest.importorskip("zarr", minversion="3")
numcodecs = pytest.importorskip("numcodecs")

SHAPES = {
    "vector": ((500,), (70,), None),
    "vector_shards": ((500,), (70,), (210,)),
    "matrix": ((45, 33), (7, 33), None),
    "matrix_columns": ((45, 33), (7, 10), None),
    "matrix_shards": ((45, 33), (7, 11), (21, 33)),
    "chunk_beyond_the_end": ((5,), (70,), (140,)),
    "empty": ((0,), (7,), None),
    "cube": ((40, 3, 2), (7, 3, 2), (14, 3, 2)),
}
CODECS_3 = {
    "none": None,
    "zstd": [zarr.codecs.ZstdCodec(checksum=True)],
    "gzip": [zarr.codecs.GzipCodec()],
    "blosc_lz4": [zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")],
    "blosc_zstd": [zarr.codecs.BloscCodec(cname="zstd", shuffle="bitshuffle")],
    "zstd_crc32c": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()],
}
CODECS_2 = {
    "none": None,
    "blosc": numcodecs.Blosc(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "lz4": numcodecs.LZ4(),
    "zstd": numcodecs.Zstd(),
}


def values(shape, dtype):
    return np.random.default_rng(0).poisson(3, shape).astype(dtype)


def written(folder, plain, *, chunks, shards=None, **options):
    array = zarr.create_array(
        folder / "a.zarr",
        shape=plain.shape,
        chunks=chunks,
        shards=shards,
        dtype=plain.dtype,
        overwrite=True,
        **options,
    )
    array[...] = plain
    return array


@pytest.mark.parametrize("codec", CODECS_3)
@pytest.mark.parametrize("shape", SHAPES)
def test_version_3(tmp_path, shape, codec):
    size, chunks, shards = SHAPES[shape]
    dtypes = ["float32", "int64", "uint16", "bool", "float16"]
    # How chunks lie has nothing to do with how wide their elements are.
    for dtype in dtypes if shape in ("vector", "matrix_shards") else dtypes[::3]:
        plain = values(size, dtype)
        array = written(
            tmp_path, plain, chunks=chunks, shards=shards, compressors=CODECS_3[codec]
        )
        found = StoredArray.from_zarr(array)
        assert found.grid is not None
        assert found.dtype == plain.dtype
        np.testing.assert_array_equal(found.read(), array[...])
        if size[0] > 40:
            np.testing.assert_array_equal(found.read(13, 38), array[13:38])


@pytest.mark.parametrize("codec", CODECS_2)
@pytest.mark.parametrize("shape", ["vector", "matrix_columns", "empty"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_version_2(tmp_path, shape, codec, shuffled):
    size, chunks, _ = SHAPES[shape]
    for dtype in (">f4", "<i8", "<u2"):
        plain = values(size, dtype)
        filters = [numcodecs.Shuffle(plain.itemsize)] if shuffled else []
        array = written(
            tmp_path,
            plain,
            chunks=chunks,
            compressors=CODECS_2[codec],
            filters=filters,
            zarr_format=2,
        )
        found = StoredArray.from_zarr(array)
        assert found.grid is not None
        assert found.dtype.isnative
        np.testing.assert_array_equal(found.read(), array[...])


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"fill_value": 7},
    ],
    ids=["slashes", "dots_version_2", "dots", "big_endian", "fill"],
)
def test_ways_to_store(tmp_path, options):
    plain = values((30, 12), "int32")
    array = written(tmp_path, plain, chunks=(7, 5), **options)
    found = StoredArray.from_zarr(array)
    assert found.grid is not None
    np.testing.assert_array_equal(found.read(), plain)


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("checked", [True, False])
def test_index_of_shards_at_either_end(tmp_path, location, checked):
    index = [zarr.codecs.BytesCodec()]
    index += [zarr.codecs.Crc32cCodec()] if checked else []
    sharding = zarr.codecs.ShardingCodec(
        chunk_shape=(7,), index_location=location, index_codecs=index
    )
    array = zarr.create(
        store=tmp_path / "a.zarr", shape=(50,), chunks=(21,), dtype="int32"
    )
    array = zarr.create_array(
        tmp_path / "b.zarr",
        shape=(50,),
        chunks=(21,),
        dtype="int32",
        serializer=sharding,
        compressors=None,
    )
    array[...] = np.arange(50)
    found = StoredArray.from_zarr(array)
    assert found.grid is not None
    assert found.chunk_rows == 7
    np.testing.assert_array_equal(found.read(), np.arange(50))


@pytest.mark.parametrize("shards", [None, (21,)])
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_chunks_never_written_hold_the_fill_value(tmp_path, shards, compressors):
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(100,),
        chunks=(7,),
        shards=shards,
        dtype="float32",
        fill_value=3,
        compressors=compressors,
    )
    array[30:40] = 5
    found = StoredArray.from_zarr(array)
    np.testing.assert_array_equal(found.read(), array[...])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Return arrays of one content: in small chunks, in shards, in large chunks."""
    plain = values(20_000, "float32")
    found = []
    for chunks, shards, codec in (
        (64, None, "auto"),
        (50, 400, None),
        (16_000, None, zarr.codecs.BloscCodec(cname="zstd", blocksize=4096)),
    ):
        folder = tmp_path_factory.mktemp("arrays")
        array = written(
            folder,
            plain,
            chunks=(chunks,),
            shards=None if shards is None else (shards,),
            compressors=codec,
        )
        found.append(StoredArray.from_zarr(array))
    return plain, found


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ranges(arrays, data):
    plain, found = arrays
    array = data.draw(st.sampled_from(found))
    edge = st.integers(0, len(plain))
    ranges = data.draw(st.lists(st.tuples(edge, edge).map(sorted), max_size=12))
    with ReadContext(2) as context:
        check(array, plain, sorted(map(tuple, ranges)), context=context)


def test_a_small_part_of_a_blosc_chunk_is_decoded_alone(arrays, monkeypatch):
    plain, found = arrays
    parts = []
    real = blosc_functions()
    if real is None:
        pytest.skip("this numcodecs does not show its C functions")

    def items(*args):
        parts.append(args[2])
        return real.items(*args)

    monkeypatch.setattr(blosc, "blosc_functions", lambda: real._replace(items=items))
    np.testing.assert_array_equal(found[2].read(5000, 5100), plain[5000:5100])
    assert parts == [100]


def test_more_files_than_can_be_open(arrays):
    plain, found = arrays
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 90, limits[1]))
    try:
        with ReadContext(2) as context:
            assert len(found[0].table.files) > 300
            np.testing.assert_array_equal(found[0].read(context=context), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_pickles_without_its_table(arrays):
    plain, found = arrays
    found[1].read(0, 10)
    again = pickle.loads(pickle.dumps(found[1]))
    assert len(pickle.dumps(found[1])) < 2000
    np.testing.assert_array_equal(again.read(), plain)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param({"compressors": numcodecs.LZMA()}, "codec is lzma", id="codec"),
        pytest.param({"order": "F"}, "stored by columns", id="order"),
        pytest.param({"filters": [numcodecs.Delta("<i4")]}, "delta", id="filter"),
    ],
)
def test_what_zarr_alone_reads_says_why(tmp_path, options, why):
    plain = values((30, 12), "int32")
    array = written(tmp_path, plain, chunks=(7, 5), zarr_format=2, **options)
    found = StoredArray.from_zarr(array)
    assert found.grid is None
    assert isinstance(found.library, ZarrLibrary)
    assert why in found.library.why
    np.testing.assert_array_equal(found.read(3, 20), plain[3:20])


@pytest.mark.parametrize("cname", ["lz4", "zstd"])
def test_damaged_blosc_parts_are_errors_not_crashes(tmp_path, cname):
    plain = values(160_000, "float32")
    codec = zarr.codecs.BloscCodec(cname=cname, clevel=1)
    array = written(tmp_path, plain, chunks=(160_000,), compressors=codec)
    path = Path(tmp_path, "a.zarr/c/0")
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        for at in rng.integers(0, 100, 3).tolist():
            damaged[at] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        found = StoredArray.from_zarr(array)
        start = int(rng.integers(0, 159_000))
        with contextlib.suppress(CorruptFileError):
            found.read(start, start + 500)
            continue
        refused += 1
    assert refused > 20


def test_a_codec_of_the_user(tmp_path, monkeypatch) -> None:
    from numcodecs.abc import Codec
    from numcodecs.registry import codec_registry

    from scdataset_core.storage.decoding import registry

    class Backwards(Codec):  # type: ignore[misc]  # numcodecs has no types
        codec_id = "backwards"

        def encode(self, buf):
            return bytes(buf)[::-1]

        def decode(self, buf, out=None):
            raise AssertionError("zarr is not to decode it")

    monkeypatch.setitem(codec_registry, "backwards", Backwards)
    for table in ("_decoders", "_zarr_numbers"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    register_decoder(
        1 << 17,
        lambda data, n_bytes, step: bytes(data)[::-1],
        zarr_name="backwards",
    )
    plain = np.arange(100, dtype="<i4")
    group = zarr.open_group(tmp_path, mode="w", zarr_format=2)
    made = group.create_array(
        "x", shape=(100,), chunks=(30,), dtype="<i4", compressors=Backwards()
    )
    made[:] = plain
    array = StoredArray.from_zarr(made)
    assert array.grid is not None
    np.testing.assert_array_equal(array.read(), plain)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["text", "by_columns"])
def test_blosc_that_was_cut_is_an_error_in_what_zarr_reads(tmp_path, version, kind):
    """Blosc itself gives zeros for what is missing at its end."""
    plain = np.array(["one", "two", "three"] * 9, object)
    options: dict[str, Any] = {"dtype": str}
    if kind == "by_columns":
        plain = values((90, 33), np.float32)
        transposed = [zarr.codecs.TransposeCodec(order=(1, 0))]
        options = {"order": "F"} if version == 2 else {"filters": transposed}
        options["dtype"] = plain.dtype
    made = zarr.create_array(
        tmp_path / "a.zarr",
        shape=plain.shape,
        chunks=plain.shape,
        compressors=[numcodecs.Blosc() if version == 2 else zarr.codecs.BloscCodec()],
        zarr_format=version,
        **options,
    )
    made[...] = plain
    array = StoredArray.from_zarr(zarr.open_array(tmp_path / "a.zarr", mode="r"))
    assert isinstance(array.library, ZarrLibrary)
    assert (array.read() == plain).all()
    names = ("0", "0.0")
    (chunk,) = (
        path
        for path in (tmp_path / "a.zarr").rglob("*")
        if path.name in names and path.is_file()
    )
    whole = chunk.read_bytes()
    for n in (0, 5, 16, len(whole) // 2, len(whole) - 1):
        chunk.write_bytes(whole[:n])
        with pytest.raises(CorruptFileError, match=r"a\.zarr.* its blosc says"):
            array.read()
