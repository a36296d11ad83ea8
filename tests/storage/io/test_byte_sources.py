"""Byte sources without a descriptor serve arrays right through the same engine."""

import ctypes
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError, FileChangedError
from scdataset_core.storage import ReadContext, StoredArray
from scdataset_core.storage.chunks import ChunkTable
from scdataset_core.storage.decoding.filters import DEFLATE, Filter
from scdataset_core.storage.decoding.pipeline import Pipeline
from scdataset_core.storage.layout import ChunkGrid
from tests.storage.oracle import check, values

PLAIN, GZIP = Pipeline(), Pipeline((Filter(DEFLATE, "gzip"),))
RANGES = [(i, i + 7) for i in range(0, 900, 11)] + [(900, 1000)] * 2
NAME = "mem://plates/a.h5ad"


class Tag(NamedTuple):
    """The identity of an object: its size and a tag, as an object store gives them."""

    n_bytes: int
    etag: str

    def __str__(self) -> str:
        return f"{self.n_bytes} bytes and the tag {self.etag}"


@dataclass(eq=False)
class MemoryStore:
    """Objects in memory; reads of them may be short, or refused."""

    objects: dict[str, bytes] = field(default_factory=dict)
    tag: str = "first"
    most: int = 1 << 30
    refused: bool = False
    n_calls: int = 0

    def identity(self, name: str) -> Tag:
        return Tag(len(self.objects[name]), self.tag)

    def open(self, name: str) -> "MemorySource":
        if name not in self.objects:
            raise FileNotFoundError(name)
        return MemorySource(self, name, self.identity(name))


@dataclass
class MemorySource:
    store: MemoryStore
    name: str
    identity: Tag
    descriptor: None = None

    def serves(self, expected: object) -> bool:
        return expected is None or self.store.identity(self.name) == expected

    def read(self, position, destinations, first, count):
        store = self.store
        store.n_calls += 1
        if store.refused:
            raise OSError("the store answers 503")
        done = []
        for start, row, n_rows in zip(position, first, count, strict=True):
            table = destinations.table[row : row + n_rows]
            data = store.objects[self.name][start:][: store.most]
            at = 0
            for address, size in table.tolist():
                part = data[at : at + size]
                ctypes.memmove(address, part, len(part))
                at += len(part)
            done.append(at)
        return np.array(done, np.int64)


def array_in(store: MemoryStore, plain: np.ndarray, pipeline: Pipeline) -> StoredArray:
    """Write an array into an object, in chunks of 64 elements, and describe it."""
    padded = np.concatenate([plain, np.zeros(-len(plain) % 64, plain.dtype)])
    chunks = [part.tobytes() for part in padded.reshape(-1, 64)]
    if pipeline:
        chunks = [zlib.compress(chunk) for chunk in chunks]
    store.objects[NAME] = b"head" + b"".join(chunks)
    sizes = np.array([len(chunk) for chunk in chunks])
    offsets = 4 + np.cumsum(sizes) - sizes
    identity = store.identity(NAME)

    def make_table() -> ChunkTable:
        return ChunkTable((NAME,), (identity,), offsets, sizes, store=store)

    grid = ChunkGrid((64,), plain.dtype, pipeline, 0, make_table)
    return StoredArray(NAME, "x", shape=plain.shape, dtype=plain.dtype, grid=grid)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("pipeline", [PLAIN, GZIP], ids=["plain", "gzip"])
@pytest.mark.parametrize("most", [1 << 30, 37], ids=["whole", "short"])
def test_an_object_in_memory_is_read_like_a_file(store, pipeline, most):
    plain = values(1000, "i4")
    array = array_in(store, plain, pipeline)
    store.most = most
    with ReadContext(2) as context, ThreadPoolExecutor(1) as pool:
        check(array, plain, RANGES, context=context)
        # By io_uring, for files: other threads than the main one have a ring.
        pool.submit(check, array, plain, RANGES, context=context).result()


def test_a_task_asks_for_all_its_ranges_in_one_call(store):
    array = array_in(store, values(1000, "i4"), PLAIN)
    with ReadContext(1) as context:
        check(array, array.read(context=context), RANGES, context=context)
    assert store.n_calls == 2


@pytest.mark.parametrize("pipeline", [PLAIN, GZIP], ids=["plain", "gzip"])
def test_errors_name_the_object_and_the_chunk(store, pipeline):
    plain = values(1024, "i4")
    array = array_in(store, plain, pipeline)
    with ReadContext(2) as context:
        store.refused = True
        with pytest.raises(OSError, match=rf"{NAME}: data set x, chunk .*answers 503"):
            array.read(context=context)
        store.refused = False
        store.objects[NAME] = store.objects[NAME][:-3]
        table = array.table
        array._table = ChunkTable(
            table.files, (None,), table.offsets, table.sizes, store=store
        )
        with pytest.raises(
            CorruptFileError, match=rf"{NAME}: data set x, chunk 15 .*file ends at byte"
        ):
            array.read(context=context)


@pytest.mark.parametrize("pipeline", [PLAIN, GZIP], ids=["plain", "gzip"])
def test_an_object_that_changed_is_named(store, pipeline):
    array = array_in(store, values(1000, "i4"), pipeline)
    with ReadContext(2) as context:
        array.read(context=context)
        store.tag = "second"
        with pytest.raises(
            FileChangedError, match=rf"{NAME} changed since .*tag first, .*tag second"
        ):
            array.read(context=context)
        del store.objects[NAME]
        store.identity = lambda name: Tag(0, "gone")
        with pytest.raises(FileChangedError, match=rf"{NAME} is not there any more"):
            array.read(context=context)
