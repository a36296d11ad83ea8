"""Sets of rows: a bit for each row of a source."""

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .bits import (
    WORD,
    WORD_ROWS,
    BitPacker,
    Words,
    count_below,
    find_bits,
    running_counts,
)
from .checks import check_count, digest_pieces, first_outside
from .notebook_html import html_of_text

__all__ = ["WINDOW_ROWS", "RowSet", "as_index"]

Rows = npt.NDArray[np.int64]

WINDOW_ROWS = 1 << 20  # rows that are unpacked at once: a megabyte of booleans

_FEW = 6  # rows that a repr shows


class RowSet:
    """Some of the rows of a source.

    It takes about ``n / 8 + n / 64`` bytes over `n` rows, however many of them it
    holds, and pickles as ``n / 8``. It does not change.

    Made by :meth:`of`, by :meth:`scdataset_core.Source.where` and by
    :func:`scdataset_core.split`. Every strategy takes one as `indices`, with the same
    result as for the sorted array of its rows. It stands in for that array in other
    places too: ``rows[positions]`` are the rows at positions of the sorted array,
    and ``numpy.asarray(rows)`` is the array itself, 8 bytes a row.

    ``a & b``, ``a | b`` and ``a - b`` are the rows in both, in any, and in `a` but not
    in `b`; ``~a`` are those of the source that are not in `a`. ``a == b`` asks whether
    the rows, and the number of rows of the source, are the same. ``row in a`` is fast.

    Parameters
    ----------
    n_rows
        Number of rows of the source.
    words
        A bit for each row, shape ``(ceil(n_rows / 64),)``: row i is bit ``i % 64``,
        counted from the lowest, of word ``i // 64``. The bits after the last row are 0.

    Raises
    ------
    ValueError
        If there is another number of words, or a bit is set after the last row.
    TypeError
        From ``&``, ``|`` and ``-``, if the other is no RowSet.

    Examples
    --------
    >>> import numpy as np
    >>> rows = RowSet.of(10, [1, 4, 7, 8])
    >>> rows
    RowSet(4 of 10 rows: 1, 4, 7, 8)
    >>> (rows & RowSet.of(10, np.arange(10) > 4)).to_numpy().tolist()
    [7, 8]
    >>> rows[[0, -1]].tolist(), 4 in rows, len(~rows)
    ([1, 8], True, 6)
    """

    # So that NumPy leaves `array & rows` to this class, which refuses it.
    __array_ufunc__ = None

    def __init__(self, n_rows: int, words: Words) -> None:
        check_count("n_rows", n_rows, least=0)
        if not isinstance(words, np.ndarray):
            raise TypeError(
                "RowSet takes bits in words; RowSet.of(n_rows, rows_or_mask) makes one"
                f" of row numbers or a mask, got a {type(words).__name__}"
            )
        n_rows = int(n_rows)
        n_words = -(-n_rows // WORD_ROWS)
        if words.shape != (n_words,) or words.dtype != WORD:
            raise ValueError(
                f"{n_rows} rows take {n_words} words of 64 bits, got {words.dtype} of"
                f" shape {words.shape}"
            )
        tail = n_rows % WORD_ROWS
        if tail and int(words[-1]) >> tail:
            raise ValueError(f"a bit is set after the last of {n_rows} rows")
        self._n_rows = n_rows
        self._words = words
        self._words.flags.writeable = False
        self._counts, self._length = running_counts(words)
        self._digest: str | None = None

    @classmethod
    def of(cls, n_rows: int, rows_or_mask: "RowSet | npt.ArrayLike") -> "RowSet":
        """Return some of the rows of a source of `n_rows` rows.

        Parameters
        ----------
        n_rows
            Number of rows of the source.
        rows_or_mask
            Integers in ``[0, n_rows)``, in any order, shape ``(k,)``, repeats counting
            once; or booleans, shape ``(n_rows,)``, True for the rows that are in the
            set; or a RowSet over as many rows, which is returned as it is.

        Raises
        ------
        ValueError
            If a row is outside ``[0, n_rows)``, there are not as many booleans as rows,
            or the array is neither.
        """
        check_count("n_rows", n_rows, least=0)
        n_rows = int(n_rows)
        if isinstance(rows_or_mask, RowSet):
            rows_or_mask.check_n_rows(n_rows)
            return rows_or_mask
        if isinstance(rows_or_mask, set | frozenset):
            rows_or_mask = list(rows_or_mask)
        array = np.asarray(rows_or_mask)
        if array.dtype.kind == "b" and array.ndim == 1:
            if len(array) != n_rows:
                raise ValueError(
                    f"a mask must have one entry for each of the {n_rows} rows,"
                    f" got {len(array)}"
                )
            return cls.from_masks(n_rows, (array[a:b] for a, b in _windows(n_rows)))
        return cls.from_masks(n_rows, _masks_of(_check_rows(array, n_rows), n_rows))

    @classmethod
    def from_masks(
        cls, n_rows: int, masks: Iterable[npt.NDArray[np.bool_]]
    ) -> "RowSet":
        """Return the rows where consecutive masks are True.

        Parameters
        ----------
        n_rows
            Number of rows of the source.
        masks
            Booleans for the first rows, for those after these, and so on: in all
            `n_rows`, and in each mask but the last a multiple of 8.
        """
        packer = BitPacker(n_rows)
        for mask in masks:
            packer.add(mask)
        return cls(n_rows, packer.words())

    @property
    def n_rows(self) -> int:
        """Number of rows of the source."""
        return self._n_rows

    @property
    def nbytes(self) -> int:
        """Bytes that the set takes in memory."""
        return self._words.nbytes + self._counts.nbytes

    @property
    def words(self) -> Words:
        """The bits, as :class:`RowSet` takes them; they cannot be written to."""
        return self._words

    def __len__(self) -> int:
        return self._length

    def __contains__(self, row: object) -> bool:
        if isinstance(row, bool | np.bool_) or not isinstance(row, int | np.integer):
            return False
        if not 0 <= row < self._n_rows:
            return False
        return bool(int(self._words[int(row) // 64]) >> int(row) % 64 & 1)

    def __iter__(self) -> Iterator[int]:
        for rows in self.pieces():
            yield from rows.tolist()

    def __getitem__(self, positions: Any) -> Any:  # Any: an integer, or an array
        """Return the rows at positions of the sorted rows, as an array would, int64."""
        if isinstance(positions, slice):
            return self._find(np.arange(*positions.indices(len(self)), dtype=np.int64))
        array = np.asarray(positions)
        if array.dtype.kind == "b":
            if array.shape != (len(self),):
                raise IndexError(
                    f"a mask of positions must have {len(self)} entries, got booleans"
                    f" of shape {array.shape}"
                )
            return self._find(np.flatnonzero(array))
        if array.size == 0:
            return np.empty(array.shape, np.int64)
        if array.dtype.kind not in "iu" or isinstance(positions, tuple):
            raise IndexError(
                "positions in a RowSet must be integers, a slice or booleans, got"
                f" {positions!r}"
            )
        flat = array.reshape(-1)
        if int(flat.min()) < -len(self) or int(flat.max()) >= len(self):
            bad = flat[(flat < -len(self)) | (flat >= len(self))][0]
            raise IndexError(f"position {bad} is outside the {len(self)} rows")
        flat = flat.astype(np.int64, copy=False)
        found = self._find(np.where(flat < 0, flat + len(self), flat))
        return found[0] if array.ndim == 0 else found.reshape(array.shape)

    def _find(self, positions: Rows) -> Rows:
        return find_bits(self._words, self._counts, positions)

    def count_below(self, rows: Rows) -> Rows:
        """Return how many rows of the set lie below each of `rows`, int64.

        Parameters
        ----------
        rows
            Numbers in ``[0, n_rows]``, shape ``(k,)``, in any order.
        """
        return count_below(self._words, self._counts, rows)

    def pieces(self, window: int = WINDOW_ROWS) -> Iterator[Rows]:
        """Yield the rows in order, int64, those of `window` rows of the source each.

        Parameters
        ----------
        window
            A multiple of 64. Pieces may be empty.
        """
        for start, stop in _windows(self._n_rows, window):
            yield start + np.flatnonzero(self.mask(start, stop))

    def mask(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Return for each row from `start`, a multiple of 8, up to `stop` if it is in.

        Returns
        -------
        mask
            Shape ``(stop - start,)``.
        """
        octets = self._words.view(np.uint8)[start // 8 : -(-stop // 8)]
        unpacked = np.unpackbits(octets, count=stop - start, bitorder="little")
        return unpacked.view(np.bool_)

    def to_numpy(self) -> Rows:
        """Return the rows, increasing, shape ``(len(rows),)``: 8 bytes a row."""
        out = np.empty(len(self), np.int64)
        at = 0
        for rows in self.pieces():
            out[at : at + len(rows)] = rows
            at += len(rows)
        return out

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a RowSet holds bits; its array of rows is always new")
        rows = self.to_numpy()
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def digest(self) -> str:
        """Return the digest of the array of rows, without making the array."""
        if self._digest is None:
            dtype = np.dtype(np.int64)
            self._digest = digest_pieces(dtype, (len(self),), self.pieces())
        return self._digest

    def check_n_rows(self, n_rows: int) -> None:
        """Raise unless the source that the rows are of has `n_rows` rows."""
        if self._n_rows != n_rows:
            raise ValueError(
                f"the RowSet is over {self._n_rows:,} rows, and there are {n_rows:,}:"
                " it was made for another source"
            )

    def __and__(self, other: object) -> "RowSet":
        return RowSet(self._n_rows, self._words & self._words_of(other, "&"))

    def __or__(self, other: object) -> "RowSet":
        return RowSet(self._n_rows, self._words | self._words_of(other, "|"))

    def __sub__(self, other: object) -> "RowSet":
        return RowSet(self._n_rows, self._words & ~self._words_of(other, "-"))

    def __invert__(self) -> "RowSet":
        words = ~self._words
        tail = self._n_rows % WORD_ROWS
        if tail:
            words[-1] &= WORD.type((1 << tail) - 1)
        return RowSet(self._n_rows, words)

    def __rand__(self, other: object) -> NoReturn:
        raise _refuse("&", other)

    def __ror__(self, other: object) -> NoReturn:
        raise _refuse("|", other)

    def __rsub__(self, other: object) -> NoReturn:
        raise _refuse("-", other)

    def _words_of(self, other: object, sign: str) -> Words:
        if not isinstance(other, RowSet):
            raise _refuse(sign, other)
        if other._n_rows != self._n_rows:
            raise ValueError(
                f"{sign} takes RowSets of one source; these are over"
                f" {self._n_rows:,} and {other._n_rows:,} rows"
            )
        return other._words

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RowSet):
            return NotImplemented
        same = self._n_rows == other._n_rows and len(self) == len(other)
        return same and np.array_equal(self._words, other._words)

    def __hash__(self) -> int:
        return hash((self._n_rows, self.digest()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_bytes, (type(self), self._n_rows, self._words.tobytes())

    def _repr_html_(self) -> str:
        return html_of_text(repr(self))

    def __repr__(self) -> str:
        count = f"{len(self):,} of {self._n_rows:,} rows"
        if not len(self):
            return f"RowSet({count})"
        if len(self) <= _FEW:
            shown = ", ".join(f"{row:,}" for row in self[:].tolist())
        else:
            first, last = self[:3].tolist(), int(self[-1])
            shown = ", ".join(f"{row:,}" for row in first) + f", ..., {last:,}"
        return f"RowSet({count}: {shown})"


def as_index(rows: RowSet | Rows, n: int) -> npt.NDArray[Any]:
    """Return what picks the entries of some rows out of an array of `n` entries.

    For a RowSet it is a mask, which takes a byte an entry.
    """
    return rows.mask(0, n) if isinstance(rows, RowSet) else rows


def _from_bytes(kind: type[RowSet], n_rows: int, octets: bytes) -> RowSet:
    return kind(n_rows, np.frombuffer(octets, WORD))


def _refuse(sign: str, other: object) -> TypeError:
    kind = type(other).__name__
    return TypeError(
        f"{sign} takes two RowSets, got a {kind}; make one of a mask or of row numbers"
        " with RowSet.of(rows.n_rows, ...)"
    )


def _check_rows(array: npt.NDArray[Any], n_rows: int) -> Rows:
    """Return rows as int64, sorted, after checking type and range."""
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        hint = "; give .to_numpy(bool) of booleans" if array.dtype == object else ""
        hint = hint if array.ndim == 1 else ""
        raise ValueError(
            "rows must be a 1-D array of integers, or of a boolean for each row, got"
            f" {array.dtype} of shape {array.shape}{hint}"
        )
    outside = first_outside(array, n_rows)
    if outside is not None:
        raise ValueError(
            f"rows must lie in [0, {n_rows}), got {array[outside]} at position"
            f" {outside}"
        )
    rows = array.astype(np.int64, copy=False)
    return np.sort(rows) if np.any(rows[1:] < rows[:-1]) else rows


def _masks_of(rows: Rows, n_rows: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield a mask for each window of the source, True at its sorted `rows`."""
    for start, stop in _windows(n_rows):
        first, last = np.searchsorted(rows, (start, stop))
        mask = np.zeros(stop - start, np.bool_)
        mask[rows[first:last] - start] = True
        yield mask


def _windows(n: int, size: int = WINDOW_ROWS) -> Iterator[tuple[int, int]]:
    for start in range(0, n, size):
        yield start, min(start + size, n)
