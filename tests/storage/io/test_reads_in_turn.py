"""Reads of several sources, one after another, and what is refused among them."""

import errno
import os

import numpy as np
import pytest

from scdataset_core.storage.io.byte_sources import Destinations
from scdataset_core.storage.io.open_files import OpenFile
from scdataset_core.storage.io.positional_reads import choose_reader
from scdataset_core.storage.io.reads_in_turn import read_in_turn


class InMemory:
    """A source that is no local file."""

    descriptor = None

    def __init__(self, path, reader):
        self.file = OpenFile(path, reader)

    def read(self, position, destinations, first, count):
        return self.file.read(position, destinations, first, count)


@pytest.fixture
def paths(tmp_path):
    for number in range(4):
        (tmp_path / str(number)).write_bytes(
            bytes(range(64 * number, 64 * number + 40))
        )
    return [str(tmp_path / str(number)) for number in range(4)]


def fails_in(path):
    """Return a way to read that is refused in one file."""
    read = choose_reader()

    def fail(file, *arguments):
        if file.path == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return read(file, *arguments)

    return fail


@pytest.mark.parametrize("kinds", [[OpenFile] * 4, [OpenFile, InMemory] * 2])
@pytest.mark.parametrize("refused", [None, 1, 2])
@pytest.mark.parametrize("n_sources", [1, 2, 4])
def test_each_source_gets_its_reads(paths, kinds, refused, n_sources):
    reader = fails_in(None if refused is None else paths[refused])
    sources = [kind(path, reader) for kind, path in zip(kinds, paths, strict=True)][
        :n_sources
    ]
    n_reads = np.array([2, 1, 3, 1])[:n_sources]
    n = int(n_reads.sum())
    memory = np.zeros((n, 8), np.uint8)
    table = np.empty((n, 2), np.uint64)
    table[:, 0] = memory.__array_interface__["data"][0] + 8 * np.arange(n)
    table[:, 1] = 8
    position = np.arange(n) * 5
    first, count = np.arange(n), np.ones(n, np.int64)
    done = read_in_turn(sources, n_reads, position, Destinations(table), first, count)
    source = np.repeat(np.arange(n_sources), n_reads)
    # The seventh read begins at byte 30 of 40, so all are whole.
    want = np.where(source == (-1 if refused is None else refused), 0, 8)
    assert done.tolist() == want.tolist()
    for number in np.flatnonzero(want).tolist():
        start = 64 * int(source[number]) + int(position[number])
        assert memory[number].tolist() == list(range(start, start + 8))
