"""A kept property is computed once, and no thread waits for another one's."""

import threading
from concurrent.futures import ThreadPoolExecutor

from scdataset_core.kept_property import kept_property


def test_a_value_is_computed_once_for_each_object():
    class Square:
        def __init__(self, n: int) -> None:
            self.n, self.n_computed = n, 0

        @kept_property
        def area(self) -> int:
            """Its area."""
            self.n_computed += 1
            return self.n**2

    squares = [Square(2), Square(3)]
    assert [square.area for square in squares * 2] == [4, 9, 4, 9]
    assert [square.n_computed for square in squares] == [1, 1]
    assert Square.area.__doc__ == "Its area."


def test_a_thread_waits_for_no_other_that_computes():
    together = threading.Barrier(2, timeout=60)

    class Slow:
        @kept_property
        def value(self) -> int:
            return together.wait()  # passes only if two threads do it at a time

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(lambda: Slow().value) for _ in range(2)]
        assert {each.result(60) for each in found} == {0, 1}
