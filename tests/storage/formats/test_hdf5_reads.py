"""Heaps of strings that HDF5 would not come to the end of."""

import io
import os
import re
import struct

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError, FileChangedError, ScdatasetError
from scdataset_core.storage.formats import hdf5_reads
from scdataset_core.storage.formats.hdf5_reads import (
    CheckedObject,
    CheckedReads,
    _find_endless,
    open_through_checks,
    reads_of,
)
from tests.sources.small_h5ad import make

SIGNATURE = rb"GCOL\x01\0\0\0"
PAGE = 4096


def walk(words: list[int]) -> int | None:
    """Go through a collection as HDF5 does; return the object it does not pass."""
    at, seen = 2, set()
    while at + 2 <= len(words) and at not in seen:
        seen.add(at)
        number, size = words[at] & 0xFFFF, words[at + 1]
        need = size if number == 0 else (16 + (size + 7) // 8 * 8) % 2**64
        if need == 0 or need % 8:
            return at
        at += need // 8
    return None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([0, 1, 8, 16, 24, 40, 2**64 - 16])
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 6),
)
def test_an_object_is_refused_if_and_only_if_hdf5_stays_at_it(objects, zeros) -> None:
    words = [0, 0]
    for number, size in objects:
        words += [number, size, *[0] * min((size + 7) // 8, 4)]
    words += [0] * zeros
    words += [7] * (len(words) % 2)
    found = _find_endless(np.array(words, np.uint64))
    assert found == walk(words)


@pytest.fixture
def names(tmp_path):
    """Return a file with 3,000 names of odd lengths, in heaps of several sizes."""
    path = tmp_path / "names.h5"
    text = [f"gene {i}" * (i % 7) for i in range(3000)]
    with h5py.File(path, "w") as file:
        for part in range(3):
            file[f"names{part}"] = text[part * 1000 : part * 1000 + 1000]
        file.attrs["list"] = text[:40]
        file["empty"] = ["", ""]
    return path, text


def test_sound_files_are_read_as_hdf5_reads_them(names) -> None:
    path, text = names
    with open_through_checks(str(path)) as file:
        assert file.filename == str(path)
        assert isinstance(reads_of(file), CheckedReads)
        read = [x.decode() for part in range(3) for x in file[f"names{part}"][()]]
        assert read == text
        assert file.attrs["list"].tolist() == text[:40]
        assert file["empty"][()].tolist() == [b"", b""]


def test_every_zeroed_page_of_names_is_an_error_or_harmless(names) -> None:
    path, _ = names
    contents, refused = path.read_bytes(), 0
    starts = [match.start() for match in re.finditer(SIGNATURE, contents)]
    assert len(starts) == 3
    for start in range(min(starts) + 64, len(contents), PAGE // 2):
        damaged = bytearray(contents)
        damaged[start : start + PAGE] = bytes(len(damaged[start : start + PAGE]))
        path.write_bytes(damaged)
        try:
            with open_through_checks(str(path)) as file:
                for part in range(3):
                    file[f"names{part}"][()]
        except (CorruptFileError, OSError, KeyError, RuntimeError) as error:
            refused += "no sound length" in str(error)
    assert refused >= 3


@pytest.mark.parametrize("number", [0, 1])
def test_a_size_that_overflows_is_an_error(names, number) -> None:
    path, _ = names
    contents = bytearray(path.read_bytes())
    for match in re.finditer(SIGNATURE, bytes(contents)):
        size = 0 if number == 0 else 2**64 - 16
        struct.pack_into("<HHIQ", contents, match.start() + 16, number, 1, 0, size)
    path.write_bytes(contents)
    with (
        open_through_checks(str(path)) as file,
        pytest.raises(CorruptFileError, match="no sound length"),
    ):
        file["names0"][()]


def test_a_signature_cut_by_two_reads_is_seen(tmp_path) -> None:
    path = tmp_path / "x"
    collection = b"GCOL\x01\0\0\0" + struct.pack("<Q", 4096) + bytes(4080)
    path.write_bytes(b"x" * 100 + collection)
    for cut in range(101, 108):
        reads = CheckedReads(str(path))
        reads.seek(0)
        assert reads.readinto(bytearray(cut)) == cut
        reads.seek(cut)
        with pytest.raises(CorruptFileError, match="heap at byte 100"):
            reads.readinto(bytearray(50))


def test_a_collection_that_claims_more_than_the_file_has(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"GCOL\x01\0\0\0" + struct.pack("<Q", 1 << 40) + bytes(4080))
    with pytest.raises(CorruptFileError, match=f"claims {1 << 40} bytes"):
        CheckedReads(str(path)).readinto(bytearray(512))


def test_a_file_that_shrank_is_an_error_and_its_end_is_zeros(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100)
    reads, buffer = CheckedReads(str(path)), bytearray(b"?" * 200)
    reads.seek(0)
    reads.readinto(buffer)
    assert buffer == b"a" * 100 + bytes(100)
    os.truncate(path, 50)
    with pytest.raises(FileChangedError, match="changed since it was opened"):
        reads.readinto(buffer)


def test_zeroed_names_of_a_file_of_anndata(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    contents = path.read_bytes()
    outcomes = set()
    for match in re.finditer(SIGNATURE, contents):
        damaged = bytearray(contents)
        end = match.start() + PAGE
        damaged[match.start() + 32 : end] = bytes(PAGE - 32)
        path.write_bytes(damaged[: len(contents)])
        try:
            scd.open(path, obs=True, obs_names=True).read([0, 1])
        except ScdatasetError as error:
            outcomes.add("damaged" in str(error) or "cannot" in str(error))
    assert outcomes == {True}


def test_an_object_of_a_store_is_checked_as_a_file_is(names) -> None:
    path, text = names
    contents = path.read_bytes()
    with h5py.File(CheckedObject(io.BytesIO(contents), "s3://a/x"), "r") as file:
        assert [x.decode() for x in file["names1"][()]] == text[1000:2000]
    for match in re.finditer(SIGNATURE, contents):
        damaged = bytearray(contents)
        damaged[match.start() + 64 : match.start() + PAGE] = bytes(PAGE - 64)
        reader = CheckedObject(io.BytesIO(damaged), "s3://a/x")
        with (
            h5py.File(reader, "r") as file,
            pytest.raises(CorruptFileError, match="s3://a/x: the text in the heap"),
        ):
            [file[f"names{part}"][()] for part in range(3)]
    collection = b"GCOL\x01\0\0\0" + struct.pack("<Q", 4096) + bytes(4080)
    reader = CheckedObject(io.BytesIO(b"x" * 100 + collection), "s3://a/x")
    reader.seek(103)
    with pytest.raises(CorruptFileError, match="heap at byte 100"):
        reader.readinto(bytearray(50))


def make_members(path, *, user_block=0):
    """Write a group, some of whose members were taken out; return where its heap is."""
    with h5py.File(path, "w", userblock_size=user_block) as file:
        group = file.create_group("group")
        for i in range(100):
            group[f"member {i}" * (1 + i % 3)] = i
        for name in list(group)[::3]:
            del group[name]
    contents = path.read_bytes()
    heaps = [match.start() for match in re.finditer(rb"HEAP\0\0\0\0", contents)]
    return heaps[-1]


@pytest.mark.parametrize("user_block", [0, 512])
def test_free_blocks_that_lead_in_a_circle_are_an_error(tmp_path, user_block) -> None:
    path = tmp_path / "x.h5"
    heap = make_members(path, user_block=user_block)
    with open_through_checks(str(path)) as file:
        assert len(file["group"]) == 66
    contents = bytearray(path.read_bytes())
    _, block, address = struct.unpack_from("<QQQ", contents, heap + 8)
    struct.pack_into("<Q", contents, user_block + address + block, block)
    path.write_bytes(contents)
    with (
        open_through_checks(str(path)) as file,
        pytest.raises(CorruptFileError, match="free blocks has no end"),
    ):
        list(file["group"])


def chain_of(n_objects):
    """Return a sound collection of so many empty objects, in words."""
    words = np.zeros(2 * n_objects + 2, np.uint64)
    words[2::2] = 1
    return words


def test_the_way_through_many_objects_is_gone_once() -> None:
    """Turns over all words, as many as there are objects, take minutes."""
    words = chain_of(100_000)
    assert _find_endless(words) is None
    assert _find_endless(np.append(words, words[:2])) == len(words)


def test_heaps_that_lie_over_each_other_are_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hdf5_reads, "_MOST_BYTES", 1 << 16)
    path, n = tmp_path / "x", 200
    heads = b"".join(
        b"GCOL\x01\0\0\0" + struct.pack("<Q", 1 << 15) for _ in range(n)
    )  # each is an object of the one before
    path.write_bytes(heads + struct.pack("<QQ", 0, 1 << 20) + bytes(1 << 15))
    reads = CheckedReads(str(path))
    with pytest.raises(CorruptFileError, match="heaps that lie over it has no end"):
        reads.readinto(bytearray(len(heads)))


def test_a_circle_of_free_blocks_in_a_large_file_is_soon_seen(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(hdf5_reads, "_MOST_FREE", 1 << 10)
    path = tmp_path / "x"
    head = b"HEAP\0\0\0\0" + struct.pack("<QQQ", 1 << 40, 64, 0)
    path.write_bytes(head.ljust(64, b"\0") + struct.pack("<Q", 64))
    os.truncate(path, 1 << 40)  # which takes no room on the disk
    with pytest.raises(CorruptFileError, match="free blocks has no end"):
        CheckedReads(str(path)).readinto(bytearray(64))
