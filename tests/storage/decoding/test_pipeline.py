"""Decoders, one by one and in pipelines."""

import sys
import zlib
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.errors import CorruptFileError
from scdataset_core.storage import ReadContext, register_decoder
from scdataset_core.storage.decoding.checksums import fletcher32
from scdataset_core.storage.decoding.deflate import (
    InflateError,
    choose_inflater,
    inflate_windows,
)
from scdataset_core.storage.decoding.filters import CodecError, Filter
from scdataset_core.storage.decoding.pipeline import Pipeline
from scdataset_core.storage.io.scratch_memory import Scratch
from tests.storage.oracle import check, stored, values

INFLATERS = ["libdeflate", "deflate", "stream"]


def packed(data: bytes) -> Scratch:
    scratch = Scratch()
    scratch.reserve_packed(len(data))
    scratch.packed[: len(data)] = data
    return scratch


def decoder(name: str):
    try:
        return choose_inflater(name)
    except (OSError, ImportError):
        pytest.skip(f"{name} is not available here")


def bodies() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        "counts": rng.poisson(1.0, 50_000).astype("f4").tobytes(),
        "noise": rng.bytes(200_000),  # deflate stores such bytes as they are
        "zeros": bytes(300_000),
        "noise_later": bytes(100_000) + rng.bytes(100_000),
        "short": b"cells",
    }


@pytest.mark.parametrize("name", INFLATERS)
@pytest.mark.parametrize("body", bodies())
@pytest.mark.parametrize("level", [0, 1, 6])
def test_streams_of_every_kind(name, body, level) -> None:
    decode, plain = decoder(name), bodies()[body]
    stream = zlib.compress(plain, level)
    scratch = packed(stream)
    scratch.reserve_plain(2 * len(plain) + 1)  # of a larger chunk before
    assert bytes(decode(scratch, 0, len(stream), len(plain))) == plain


@pytest.mark.parametrize("name", INFLATERS)
@pytest.mark.parametrize(
    ("stream", "n_bytes"),
    [
        pytest.param(zlib.compress(bytes(10**7)), 1000, id="bomb"),
        pytest.param(zlib.compress(bytes(999)), 1000, id="too_little"),
        pytest.param(zlib.compress(bytes(1000))[:-1], 1000, id="cut_short"),
        pytest.param(zlib.compress(bytes(1000))[:-1] + b"x", 1000, id="checksum"),
        pytest.param(b"", 1000, id="nothing"),
        pytest.param(b"nonsense that is no stream", 1000, id="nonsense"),
    ],
)
def test_wrong_streams_are_errors(name, stream, n_bytes) -> None:
    decode = decoder(name)
    with pytest.raises(InflateError, match="bytes"):
        decode(packed(stream), 0, len(stream), n_bytes)


@given(
    st.binary(max_size=3000),
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(0, 9),
)
def test_windows_join_to_the_whole(data, part, window, level) -> None:
    stream = memoryview(zlib.compress(data, level))
    parts = [stream[i : i + part] for i in range(0, len(stream), part)]
    windows = list(inflate_windows(iter(parts), len(data), window=window))
    assert b"".join(windows) == data
    for n_bytes in (len(data) - 1, len(data) + 1):
        with pytest.raises(InflateError, match="bytes"):
            list(inflate_windows(iter(parts), n_bytes, window=window))


@given(st.binary(min_size=1, max_size=200))
def test_damaged_streams_never_give_wrong_bytes(noise) -> None:
    plain = values(5000, "f4").tobytes()
    stream = bytearray(zlib.compress(plain))
    middle = len(stream) // 2
    stream[middle : middle + len(noise)] = noise
    scratch = packed(bytes(stream))
    pipeline = Pipeline((Filter(1, "deflate", (4,)),))
    try:
        got = pipeline.decode(
            scratch, 0, len(stream), n_bytes=len(plain), want=len(plain)
        )
    except CodecError:
        return
    assert bytes(got[: len(plain)]) == plain


def test_the_fastest_decoder_there_is_gets_used(monkeypatch) -> None:
    from scdataset_core.storage.decoding import deflate as inflate

    choose = inflate.choose_inflater.__wrapped__
    assert isinstance(choose("stream"), inflate.Streaming)
    monkeypatch.setattr(inflate, "find_libdeflate", lambda: None)
    with pytest.raises(OSError, match="cannot be called directly"):
        choose("libdeflate")
    pytest.importorskip("deflate")
    assert isinstance(choose(None), inflate.DeflateModule)
    monkeypatch.setitem(sys.modules, "deflate", None)
    assert isinstance(choose(None), inflate.Streaming)
    monkeypatch.setitem(sys.modules, "isal", None)
    assert inflate.streaming_module.__wrapped__() == (zlib, zlib.error)


def plugins() -> list[object]:
    plugin = pytest.importorskip("hdf5plugin")
    pytest.importorskip("numcodecs")
    return [
        plugin.Zstd(),
        plugin.LZ4(),
        plugin.LZ4(nbytes=64),
        *(plugin.Blosc(cname="lz4", shuffle=shuffle) for shuffle in (0, 1, 2)),
        plugin.Blosc(cname="zstd"),
        plugin.Blosc(cname="blosclz"),
        plugin.Blosc(cname="zlib"),
    ]


@pytest.mark.parametrize("dtype", ["f4", ">i8", "u1"])
def test_compressors_of_hdf5plugin(tmp_path, dtype) -> None:
    plain = values(1000, dtype)
    noise = np.random.default_rng(0).bytes(4000)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, options in enumerate(plugins()):
            file.create_dataset(f"x{number}", data=plain, chunks=(64,), **options)
            file.create_dataset(
                f"noise{number}",
                data=np.frombuffer(noise, "u1"),
                chunks=(999,),
                **options,
            )
        names = list(file)
    with ReadContext(2) as context:
        for name in names:
            array = stored(tmp_path / "x.h5", name)
            assert array.grid is not None, name
            expected = plain if name[0] == "x" else np.frombuffer(noise, "u1")
            check(array, expected, [(0, 3), (60, 70), (60, 1000)], context=context)


def test_damaged_chunks_of_every_compressor(tmp_path) -> None:
    plain = values(2000, "f4")
    rng = np.random.default_rng(0)
    path = tmp_path / "x.h5"
    layouts = [
        *plugins(),
        {"compression": "gzip"},
        {"compression": "lzf"},
        {"fletcher32": True},
        {"compression": "lzf", "fletcher32": True},
    ]
    with h5py.File(path, "w") as file:
        for number, options in enumerate(layouts):
            file.create_dataset(f"x{number}", data=plain, chunks=(500,), **options)
    for number, options in enumerate(layouts):
        for _ in range(10):
            with h5py.File(path, "r+") as file:
                data = file[f"x{number}"]
                mask, chunk = data.id.read_direct_chunk((500,))
                damaged = bytearray(chunk)
                at = int(rng.integers(0, len(damaged) - 8))
                damaged[at : at + 8] = rng.bytes(8)
                data.id.write_direct_chunk((500,), bytes(damaged), mask)
            array = stored(path, f"x{number}")
            where = f"data set /x{number}, chunk 1 .elements 500 to 1000."
            has_checksum = isinstance(options, dict) and (
                options.get("compression") == "gzip" or "fletcher32" in options
            )
            if has_checksum:
                with pytest.raises(CorruptFileError, match=where):
                    array.read()
            else:
                with suppress(CorruptFileError):
                    np.testing.assert_array_equal(array.read()[:500], plain[:500])
            with h5py.File(path, "r+") as file:
                file[f"x{number}"].id.write_direct_chunk((500,), chunk, mask)


def test_fletcher32_is_that_of_hdf5(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 100, 1001):
        for data in (rng.bytes(n), bytes(n), b"\xff" * n):
            with h5py.File(tmp_path / "x.h5", "w") as file:
                file.create_dataset(
                    "x", data=np.frombuffer(data, "u1"), chunks=(n,), fletcher32=True
                )
                _, chunk = file["x"].id.read_direct_chunk((0,))
            low, high = np.frombuffer(chunk[-4:], "<u2").tolist()
            assert fletcher32(data) == (low % 65535, high % 65535)
    assert fletcher32(b"ab" * (3 << 20)) == fletcher32(b"ab" * (3 << 20) + b"")


def test_a_decoder_of_the_user(tmp_path, monkeypatch) -> None:
    from scdataset_core.storage.decoding import registry

    monkeypatch.setattr(registry, "_decoders", dict(registry._decoders))
    register_decoder(12345, lambda data, n_bytes, step: bytes(data)[::-1])
    pipeline = Pipeline((Filter(12345, "backwards"),))
    assert pipeline.unknown is None
    assert bytes(pipeline.decode(packed(b"slleC"), 0, 5, n_bytes=5, want=5)) == b"Cells"
    with pytest.raises(CodecError, match="5 bytes where 6"):
        pipeline.decode(packed(b"slleC"), 0, 5, n_bytes=6, want=6)


def test_a_missing_package_is_named(monkeypatch) -> None:
    from scdataset_core.storage.decoding.compressors import decompressor

    decompressor.cache_clear()
    monkeypatch.setitem(sys.modules, "numcodecs.zstd", None)
    pipeline = Pipeline((Filter(32015, "zstd"),))
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[codecs\]"):
        pipeline.decode(packed(b"stored"), 0, 6, n_bytes=5, want=5)
