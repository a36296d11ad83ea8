"""Which decoder a filter gets, and what is missing where it gets none."""

import bz2
from typing import Any

import pytest

from scdataset_core.storage.decoding import registry
from scdataset_core.storage.decoding.filters import BLOSC, DEFLATE, LZF, SHUFFLE, Filter
from scdataset_core.storage.decoding.registry import (
    find_decoder,
    missing_install,
    number_of_zarr_codec,
    register_decoder,
)

BZIP2 = 307  # its number at the HDF Group


@pytest.fixture(autouse=True)
def _no_decoder_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    # An example of the docs that ran before may have registered one of bzip2.
    decoders = {n: d for n, d in registry._decoders.items() if n != BZIP2}
    numbers = {c: n for c, n in registry._zarr_numbers.items() if n != BZIP2}
    monkeypatch.setattr(registry, "_decoders", decoders)
    monkeypatch.setattr(registry, "_zarr_numbers", numbers)


def decode_bzip2(data: Any, n_bytes: int, step: Filter) -> bytes:
    return bz2.decompress(data)


def filter_of(code: int) -> Filter:
    return Filter(code, ())


def test_a_decoder_from_outside_is_found_by_number_and_by_name():
    assert find_decoder(filter_of(BZIP2)) is None
    assert number_of_zarr_codec("bz2") is None
    register_decoder(BZIP2, decode_bzip2, zarr_name="bz2")
    assert find_decoder(filter_of(BZIP2)) is decode_bzip2
    assert number_of_zarr_codec("bz2") == BZIP2


def test_a_decoder_takes_the_place_of_the_librarys_own():
    register_decoder(SHUFFLE, decode_bzip2)
    assert find_decoder(filter_of(SHUFFLE)) is decode_bzip2


def test_zlib_of_zarr_is_deflate_of_hdf5():
    assert number_of_zarr_codec("zlib") == DEFLATE


def test_lzf_has_no_decoder_where_h5py_does_not_bring_it(monkeypatch):
    monkeypatch.setattr(registry, "lzf_decompressor", lambda: None)
    assert find_decoder(filter_of(LZF)) is None


def test_what_a_decoder_needs_is_named_with_its_extra(monkeypatch):
    assert missing_install(filter_of(SHUFFLE)) is None
    assert missing_install(filter_of(BZIP2)) is None
    pytest.importorskip("numcodecs")
    assert missing_install(filter_of(BLOSC)) is None

    def without(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'numcodecs'", name="numcodecs")

    monkeypatch.setattr(registry, "decompressor", without)
    command = missing_install(filter_of(BLOSC))
    assert command is not None
    assert "scdataset-core[codecs]" in command
    assert missing_install(filter_of(SHUFFLE)) is None
