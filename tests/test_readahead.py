"""Reading ahead: bounded, ordered, and gone when it should be."""

import gc
import threading

import pytest

from scdataset_core.readahead import ReadAhead


def numbers(n, made=None):
    for i in range(n):
        if made is not None:
            made.append(i)
        yield i


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_gives_the_items_in_order(depth):
    with ReadAhead(numbers(20), depth=depth) as items:
        assert list(items) == list(range(20))


def test_makes_no_more_than_depth_ahead():
    made: list[int] = []
    items = ReadAhead(numbers(50, made), depth=2)
    assert next(items) == 0
    items.close()
    assert len(made) <= 4


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_comes_after_the_items_before_it(depth):
    def broken():
        yield 1
        raise KeyError("gone")

    items = ReadAhead(broken(), depth=depth)
    assert next(items) == 1
    with pytest.raises(KeyError, match="gone"):
        next(items)
    assert next(items, "ended") == "ended"


@pytest.mark.parametrize("depth", [0, 1])
def test_close_closes_the_generator(depth):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = ReadAhead(endless(), depth=depth)
    next(items)
    items.close()
    assert closed.is_set()
    assert next(items, "ended") == "ended"
    items.close()


def test_collection_ends_the_thread():
    items = ReadAhead(numbers(10**9), depth=1)
    next(items)
    del items
    gc.collect()
    assert not [t for t in threading.enumerate() if "read-ahead" in t.name]
