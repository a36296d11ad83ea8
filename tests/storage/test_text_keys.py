"""Keys of texts: the same for the same text, and for no other."""

import os

import h5py
import numpy as np
import pytest

from scdataset_core.storage.formats.hdf5_heaps import REFERENCE, read_text
from scdataset_core.storage.text_keys import text_key

rng = np.random.default_rng(0)
WORDS = [f"gene{i}" * int(rng.integers(1, 9)) for i in range(3000)]


def key_of(path, texts, *, before=(), **options):
    """Write texts behind others, and return their key."""
    with h5py.File(path, "w") as file:
        for i, other in enumerate(before):
            file.create_dataset(f"other{i}", data=other, dtype=h5py.string_dtype())
        file.create_dataset("x", data=texts, dtype=h5py.string_dtype(), **options)
        file.attrs["note"] = "behind"
    with h5py.File(path) as file:
        return text_key(file["x"])


def test_a_key_is_that_of_the_text_wherever_it_lies(tmp_path):
    key = key_of(tmp_path / "a.h5", WORDS)
    assert key is not None
    assert key_of(tmp_path / "b.h5", WORDS, before=[["some", "text"] * 99]) == key
    assert key_of(tmp_path / "c.h5", WORDS, chunks=(100,), compression="gzip") == key


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(WORDS[:-1], id="one_less"),
        pytest.param([*WORDS[1:], WORDS[0]], id="another_order"),
        pytest.param([*WORDS[:-1], WORDS[-1] + "x"], id="a_letter_more"),
        pytest.param([*WORDS[:-1], WORDS[-1][:-1] + "é"], id="another_letter"),
        pytest.param(["".join(WORDS[:2]), "", *WORDS[2:]], id="cut_elsewhere"),
    ],
)
def test_other_texts_have_other_keys(tmp_path, other):
    key = key_of(tmp_path / "a.h5", WORDS)
    assert key_of(tmp_path / "b.h5", other) != key


def test_packed_texts_are_what_hdf5_reads(tmp_path):
    path = tmp_path / "x.h5"
    texts = [*WORDS, "é", "日本", "a" * 5000]
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=texts, dtype=h5py.string_dtype())
        offset = file["x"].id.get_offset()
    content = path.read_bytes()
    references = np.frombuffer(content, REFERENCE, len(texts), offset)
    descriptor = os.open(path, os.O_RDONLY)
    found = read_text(descriptor, references)
    os.close(descriptor)
    assert found is not None
    data, read, at = found.words.tobytes(), [], 0
    for n in found.lengths.tolist():
        read.append(data[at : at + n].decode())
        at += (n + 7) // 8 * 8
    assert read == texts


def test_no_flipped_byte_of_references_or_heaps_crashes(tmp_path):
    path = tmp_path / "x.h5"
    texts = WORDS[:60]
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=texts, dtype=h5py.string_dtype())
        offset = file["x"].id.get_offset()
    content = path.read_bytes()
    heap = content.find(b"GCOL")
    places = [*range(offset, offset + 80), *range(heap, heap + 200)]
    descriptor = os.open(path, os.O_RDWR)
    for at in places:
        for value in (0, 255, content[at] ^ 1):
            os.pwrite(descriptor, bytes([value]), at)
            data = os.pread(descriptor, 16 * len(texts), offset)
            read_text(descriptor, np.frombuffer(data, REFERENCE))
        os.pwrite(descriptor, content[at : at + 1], at)
    os.close(descriptor)
