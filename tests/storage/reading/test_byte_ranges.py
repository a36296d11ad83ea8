"""Ranges of bytes in several files, and which of them are read as one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.storage.chunks import ChunkTable
from scdataset_core.storage.io.byte_sources import Location
from scdataset_core.storage.reading.byte_ranges import (
    ByteRanges,
    LocationNumbers,
    find_runs,
    lengths_of,
)

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1).map(
    lambda spans: sorted((start, start + n) for start, n in spans)
)


def table(*files: str) -> ChunkTable:
    return ChunkTable(
        files, [None] * len(files), np.arange(3) * 10, np.full(3, 10), file_of=None
    )


@given(SPANS, st.integers(0, 4))
def test_overlapping_runs_cover_every_range_and_lie_apart(spans, gap):
    starts, stops = np.array(spans).T
    first = find_runs(starts, stops, gap=gap, overlap=True)
    counts = lengths_of(first, len(starts))
    assert counts.sum() == len(starts)
    ends: list[int] = []
    for begin, count in zip(first, counts, strict=True):
        if ends:
            assert starts[begin] > ends[-1] + gap
        covered = starts[begin]
        ends.append(stops[begin])
        for i in range(begin, begin + count):
            assert starts[i] <= ends[-1] + gap
            assert covered <= starts[i]
            ends[-1] = max(ends[-1], stops[i])


def test_ranges_of_other_files_are_no_neighbours():
    starts, stops = np.array([0, 5, 9]), np.array([5, 9, 12])
    assert find_runs(starts, stops).tolist() == [0]
    assert find_runs(starts, stops, of=np.array([0, 1, 1])).tolist() == [0, 1]


def test_a_range_before_the_one_before_it_begins_a_run():
    starts, stops = np.array([10, 4]), np.array([14, 10])
    for options in ({}, {"gap": 100}, {"gap": 100, "overlap": True}):
        assert find_runs(starts, stops, **options).tolist() == [0, 1]


def test_a_file_that_two_tables_share_has_one_number():
    numbers = LocationNumbers()
    first = numbers.numbers(table("a", "b"), np.array([1, 0, 1]))
    second = numbers.numbers(table("b", "c"), np.array([0, 1]))
    names = [location.name for location in numbers.locations]
    assert [names[i] for i in first] == ["b", "a", "b"]
    assert [names[i] for i in second] == ["b", "c"]
    assert sorted(names) == ["a", "b", "c"]


def test_neighbours_of_one_file_come_together():
    files = [Location(name, None, None) for name in "ab"]
    of = np.array([0, 0, 1, 1, 0])
    ranges = ByteRanges(files, of, np.arange(5) * 7, np.full(5, 7))
    found = list(ranges.by_location(slice(1, 5)))
    assert found == [
        (files[0], slice(1, 2)),
        (files[1], slice(2, 4)),
        (files[0], slice(4, 5)),
    ]
    some = ranges.take(np.array([4, 2]))
    assert [some.location(i).name for i in range(2)] == ["a", "b"]
    assert some.position.tolist() == [28, 14]


def test_ranges_without_numbers_are_all_of_the_first_file():
    file = Location("a", None, None)
    ranges = ByteRanges([file], None, np.arange(3), np.ones(3, np.int64))
    assert list(ranges.by_location(slice(0, 3))) == [(file, slice(0, 3))]
    assert ranges.take(slice(1, 3)).location(1) is file
