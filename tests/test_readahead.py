"""Reading ahead: bounded, ordered, and gone when it should be."""

import gc
import threading

import pytest

from scdataset_core.readahead import ReadAhead

DEPTHS = [(0, 1), (1, 1), (4, 1), (2, 2), (5, 3)]


def numbers(n, made=None):
    for i in range(n):
        if made is not None:
            made.append(i)
        yield i


def same(number):
    return number


@pytest.mark.parametrize(("depth", "n_threads"), DEPTHS)
def test_gives_the_items_in_order(depth, n_threads):
    tasks = numbers(20)
    with ReadAhead(tasks, lambda i: -i, depth=depth, n_threads=n_threads) as items:
        assert list(items) == [-i for i in range(20)]


def test_items_are_made_at_the_same_time_and_come_in_order():
    second_is_made = threading.Event()

    def make(number):
        if number == 0:
            assert second_is_made.wait(60)
        if number == 1:
            second_is_made.set()
        return number

    with ReadAhead(numbers(5), make, depth=2, n_threads=2) as items:
        assert list(items) == list(range(5))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_makes_no_more_than_depth_ahead(n_threads):
    drawn: list[int] = []
    items = ReadAhead(numbers(50, drawn), same, depth=2, n_threads=n_threads)
    assert next(items) == 0
    items.close()
    assert len(drawn) <= 3


@pytest.mark.parametrize(("depth", "n_threads"), DEPTHS)
def test_an_error_comes_after_the_items_before_it(depth, n_threads):
    def broken():
        yield 1
        raise KeyError("gone")

    items = ReadAhead(broken(), same, depth=depth, n_threads=n_threads)
    assert next(items) == 1
    with pytest.raises(KeyError, match="gone"):
        next(items)
    assert next(items, "ended") == "ended"
    items.close()


@pytest.mark.parametrize(("depth", "n_threads"), DEPTHS)
def test_a_stop_of_what_makes_items_is_not_taken_for_their_end(depth, n_threads):
    def make(number):
        return next(iter([])) if number == 1 else number

    items = ReadAhead(numbers(9), make, depth=depth, n_threads=n_threads)
    assert next(items) == 0
    with pytest.raises(RuntimeError, match="StopIteration was raised"):
        next(items)
    assert next(items, "ended") == "ended"
    items.close()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_item_that_cannot_be_made_ends_the_items(n_threads):
    third_failed = threading.Event()

    def make(number):
        if number == 1 and n_threads == 2:
            assert third_failed.wait(60)  # the later error is there first
        if number == 2:
            third_failed.set()
        if number:
            raise KeyError(f"item {number}")
        return number

    items = ReadAhead(numbers(9), make, depth=3, n_threads=n_threads)
    assert next(items) == 0
    with pytest.raises(KeyError, match="item 1"):
        next(items)
    assert next(items, "ended") == "ended"
    items.close()


@pytest.mark.parametrize(("depth", "n_threads"), DEPTHS)
def test_close_closes_the_tasks(depth, n_threads):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = ReadAhead(endless(), same, depth=depth, n_threads=n_threads)
    next(items)
    items.close()
    assert closed.is_set()
    assert next(items, "ended") == "ended"
    items.close()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_collection_ends_the_threads(n_threads):
    items = ReadAhead(numbers(10**9), same, depth=2, n_threads=n_threads)
    next(items)
    del items
    gc.collect()
    assert not [t for t in threading.enumerate() if "read-ahead" in t.name]
