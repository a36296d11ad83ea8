"""A property that is computed once and kept, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["kept_property"]

T = TypeVar("T")


class kept_property(Generic[T]):  # noqa: N801  # it is used like `property`
    """Computes a value on first use, and keeps it in the object.

    It is for what reading threads use. ``functools.cached_property`` of Python 3.11 has
    one lock for all objects of a class: threads wait for one another, and in a process
    that is forked while one of them computes, others wait for ever. Here two threads
    may compute a value both.

    Parameters
    ----------
    function
        Computes the value of an object.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:  # Any: its object
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = self._function(instance)
        # From now on it is found there, before this.
        instance.__dict__[self._function.__name__] = value
        return value
