"""Checks of arguments, and digests of arrays."""

import hashlib
import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "check_count",
    "check_flag",
    "check_hooks",
    "check_made",
    "check_number",
    "check_seed",
    "check_widths",
    "count_rows",
    "digest",
    "digest_pieces",
    "first_outside",
    "first_unfit",
    "install_command",
    "why_not_indexed",
]

_TRANSFORMS = f"{__package__}.transforms."


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra.

    It is right wherever this package came from: pip keeps the package that is
    installed, and fetches only what the extra lacks.
    """
    return f"pip install 'scdataset-core[{extra}]'"


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise unless `value` is an integer of at least `least` that fits into int64."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if value >= 2**63:
        raise ValueError(f"{name} must be below 2**63, got {value}")


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is True or False, also as 1 or 0."""
    if not isinstance(value, bool | int | np.bool_ | np.integer) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_number(
    name: str, value: object, *, above: float | None = None, finite: bool = True
) -> None:
    """Raise unless `value` is a number, not NaN, and larger than `above`."""
    if isinstance(value, bool) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if np.isnan(value) or (finite and np.isinf(value)):
        raise ValueError(f"{name} must be a finite number, got {value}")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be above {above}, got {value}")


def check_widths(width: object) -> tuple[int, ...]:
    """Return one or several widths, increasing, after checking that they are counts."""
    is_one = isinstance(width, np.ndarray) and width.ndim == 0  # which has no iter()
    several: list[Any] = (
        list(width) if isinstance(width, Iterable) and not is_one else [width]
    )
    if not several or isinstance(width, str | bytes):
        raise ValueError(f"width must be an integer, or several, got {width!r}")
    for one in several:
        check_count("width", one)
    return tuple(sorted({int(one) for one in several}))


def check_hooks(hooks: object) -> None:
    """Raise unless every hook that is given can be called, and is called with data."""
    for name, hook in vars(hooks).items():
        if hook is not None and not callable(hook):
            raise TypeError(f"{name} must be a function or None, got {hook!r}")
        check_made(name, hook)


def check_made(name: str, hook: object) -> None:
    """Raise if a hook is one of the functions of `transforms`, which make hooks.

    It would take a batch for one of its arguments.
    """
    if inspect.isfunction(hook) and hook.__module__.startswith(_TRANSFORMS):
        called = hook.__name__
        raise TypeError(
            f"{name} is the function {called} itself; call it, and give what it"
            f" returns: {called}(...)"
        )


def check_seed(seed: object) -> None:
    """Raise unless `seed` is an integer of at most 64 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must fit into 64 bits, got {seed}")


def digest(array: npt.NDArray[Any]) -> str:
    """Return a short digest of an array's type, shape and values."""
    return digest_pieces(array.dtype, array.shape, [array])


def digest_pieces(
    dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Iterable[npt.NDArray[Any]]
) -> str:
    """Return the digest of an array that comes piece after piece."""
    found = hashlib.sha256(f"{dtype.str}{shape}".encode())
    for piece in pieces:
        found.update(np.ascontiguousarray(piece).data)
    return found.hexdigest()[:16]


def first_outside(
    numbers: npt.NDArray[Any], n: int | npt.NDArray[np.int64]
) -> int | None:
    """Return where the first number outside ``[0, n)`` stands, or None.

    Every number that later code uses as an address or an index is checked here.

    Parameters
    ----------
    numbers
        Integers of any type, shape ``(k,)``.
    n
        The limit of all numbers, or that of each, shape ``(k,)``.

    Examples
    --------
    >>> first_outside(np.array([1, 2, -3], np.int8), 200)
    2
    """
    if not len(numbers):
        return None
    if not numbers.dtype.isnative:  # a view would see other numbers
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    # Viewed as unsigned, negative numbers are the largest, so one pass finds both kinds
    # of wrong ones; but in a narrow type some of them are still below a large `n`.
    unsigned = numbers.view(f"u{numbers.itemsize}")
    limit = np.asarray(n, np.int64)
    if numbers.dtype.kind == "i" and numbers.itemsize < 8:
        limit = np.minimum(limit, 1 << 8 * numbers.itemsize - 1)
    if int(unsigned.max()) < int(limit.min()):
        return None
    wrong = unsigned >= limit
    return int(np.argmax(wrong)) if wrong.any() else None


def first_unfit(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> int | None:
    """Return where the first value stands that `dtype` cannot hold, or None.

    An integer type holds a value that lies in its range once the fraction is cut off;
    a float type holds one that does not become infinite. Processors differ in what they
    make of any other value.

    Parameters
    ----------
    values
        Numbers, shape ``(k,)``.
    dtype
        The type that they are to be converted to.

    Examples
    --------
    >>> first_unfit(np.array([1.5, -0.5, 300.0]), np.dtype(np.uint8))
    2
    """
    if not len(values) or dtype.kind not in "iuf" or values.dtype.kind not in "iuf":
        return None
    if np.can_cast(values.dtype, dtype, "safe"):
        return None
    low, high = _range_of(dtype, values.dtype)
    if low <= values.min() and values.max() <= high:
        return None
    wrong = ~((values >= low) & (values <= high))
    if dtype.kind == "f":
        wrong &= np.isfinite(values)
    return int(np.argmax(wrong)) if wrong.any() else None


def _range_of(dtype: np.dtype[Any], given: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and the largest number of type `given` that `dtype` can hold."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        # A value half a step above the largest number is rounded to infinity.
        beyond = float(limits.max) + 2.0 ** (limits.maxexp - limits.nmant - 2)
        if given.kind == "f":
            high = np.nextafter(given.type(beyond), given.type(0))
            return -high, high
        most = int(beyond) - 1
        least = -most
    else:
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if given.kind != "f":
        own = np.iinfo(given)
        return max(least, int(own.min)), min(most, int(own.max))
    limits = np.finfo(given)
    zero = given.type(0)
    high = limits.max
    if most + 1 <= int(limits.max):
        high = np.nextafter(given.type(most + 1), zero)
    low = limits.min
    if least - 1 >= int(limits.min):
        below = given.type(least - 1)
        exact = int(below) == least - 1
        low = np.nextafter(below, zero) if exact else given.type(least)
    return low, high


def count_rows(collection: Any) -> int:
    """Return the number of rows of anything that is indexed by row.

    SciPy's sparse arrays have a shape and refuse ``len()``.
    """
    shape = getattr(collection, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    return len(collection)


def why_not_indexed(collection: object) -> str | None:
    """Return why an object cannot be indexed with an array of rows; None if it may."""
    kind = type(collection)
    if isinstance(collection, str | bytes) or hasattr(collection, "__fspath__"):
        return (
            f"got the path {collection!r}; open it first: Loader(scdataset_core.open("
            f"{str(collection)!r}), ...)"
        )
    if isinstance(collection, list | tuple | dict | set | range):
        return (
            f"a {kind.__name__} cannot be indexed with an array of rows; give a NumPy"
            " array, or open() a list of paths"
        )
    if kind.__module__.partition(".")[0] == "pandas":
        return f"a pandas {kind.__name__} is not indexed by row; give its .to_numpy()"
    if not hasattr(kind, "__len__") and not hasattr(collection, "shape"):
        return f"a {kind.__name__} has no len(); rows are counted with it"
    if not hasattr(kind, "__getitem__"):
        return f"a {kind.__name__} cannot be indexed with an array of rows"
    return None
