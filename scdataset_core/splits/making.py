"""Makes splits: by named groups, and by shares of cells or of whole groups."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_count, check_seed, count_rows
from ..labels import is_missing
from ..proportions import as_fraction, find_integers
from ..row_sets import RowSet
from ..sources.base import Source
from .dealing_cells import deal_cells
from .dealing_groups import deal_groups
from .groups import find_groups, name_columns
from .split import Split

__all__ = ["split"]

_NEAR = Fraction(1, 10**6)  # by which shares may miss one in all


def split(
    source: Any,
    parts: Mapping[str, float | Mapping[str, Any] | RowSet | None],
    by: str | Sequence[str] | None = None,
    stratify: str | Sequence[str] | None = None,
    within: RowSet | npt.ArrayLike | None = None,
    block_size: int = 1,
    seed: int = 0,
) -> Split:
    """Divide cells into parts that share no cell, such as for training and testing.

    Parameters
    ----------
    source
        The cells. Any: a source; or, where no columns are named, any object with rows.
    parts
        What each part gets, by its name:

        - a number, its share: above 0 and at most 1. Shares add up to 1, or leave
          something for a part that is None;
        - conditions, as :meth:`Source.where` takes them: ``{"donor": ["D3", "D7"]}``;
        - a RowSet;
        - None: what the others leave.

        Shares are of the cells that are not named by conditions or a RowSet.
    by
        An obs column whose labels are groups, such as donors, that must not be divided;
        or several columns, of which each combination is a group. Every part gets a
        group at least. Cells without a label are a group of their own.
    stratify
        An obs column whose labels every part shall have in the same proportions, or
        several. Each part gets its share of every label to within one cell; with `by`
        to within one group, where groups are of one label each. Cells without a label
        are a label of their own.
    within
        The cells that are divided: a RowSet, booleans, or row numbers. All by default.
    block_size
        Keep rows ``k * block_size`` to ``(k + 1) * block_size`` together, so that the
        rows of a part can be read in runs. Blocks are dealt in place of cells; with
        `stratify` one counts as the label that most of its cells have.
    seed
        Key of the randomness: the same seed gives the same parts, on any machine.

    Returns
    -------
    parts
        The rows of each part, by name.

    Raises
    ------
    MissingNameError
        If there is no column or label of a name; it names the nearest.
    ValueError
        If shares do not add up, a part comes out empty, a group is named twice, there
        are fewer groups than parts, named parts divide a group of `by`, or `block_size`
        is given with `by`.
    TypeError
        If something in `parts` is none of the above, or `source` is a path.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad")
    >>> parts = scd.split(source, {"train": 0.8, "val": 0.1, "test": 0.1})
    >>> len(parts["train"]), len(parts["val"]), len(parts["test"])
    (960, 120, 120)
    >>> parts = scd.split(source, {"train": None, "test": {"plate": "plate3"}})
    >>> parts.table()
           train  test
    cells    800   400
    """
    if isinstance(source, str | PathLike):
        raise TypeError(
            f"split divides the cells of a source, got the path {str(source)!r}; open()"
            " it first"
        )
    groups, strata = name_columns(by, "by"), name_columns(stratify, "stratify")
    check_count("block_size", block_size)
    check_seed(seed)
    block_size, seed = int(block_size), int(seed)
    _check_parts(parts)
    if groups and block_size > 1:
        raise ValueError(
            f"block_size={block_size} does not go with by={list(groups)}: groups are"
            " kept whole, wherever their cells lie; leave one of them out"
        )
    rows = _rows_within(source, within)
    found = _find_named(source, parts, rows)
    rest = rows
    for named in found.values():
        rest = rest - named
    shared_out = [name for name in parts if name not in found]
    if shared_out:
        weights = _find_weights({name: parts[name] for name in shared_out})
        sets = [rest]
        if len(shared_out) > 1:
            _check_enough(rest, shared_out)
            labels = find_groups(source, strata, rest)
            if groups:
                whole = find_groups(source, groups, rest)
                sets = deal_groups(rest, whole, labels, weights, seed=seed)
            else:
                sets = deal_cells(
                    rest, labels, weights, block_size=block_size, seed=seed
                )
        found |= dict(zip(shared_out, sets, strict=True))
    elif len(rest):
        raise ValueError(
            f"{len(rest):,} of {len(rows):,} cells are in none of the parts"
            f" {', '.join(parts)}; give one part None, which takes the rest, or leave"
            " cells out with within="
        )
    in_order = {name: found[name] for name in parts}
    _check_filled(in_order, parts, rest, block_size)
    made = Split(source, in_order, by=groups, stratify=strata)
    if groups and len(shared_out) < len(parts):
        made.check()
    return made


def _check_parts(parts: Any) -> None:
    """Raise unless the request names parts, and what each gets is one of the kinds."""
    if not isinstance(parts, Mapping) or not parts:
        raise TypeError(
            f'parts must be a dict such as {{"train": 0.9, "test": 0.1}}, got {parts!r}'
        )
    for name, wanted in parts.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"parts are named by text, got {name!r}")
        if wanted is None or isinstance(wanted, Mapping | RowSet):
            if isinstance(wanted, Mapping) and not wanted:
                raise ValueError(
                    f'part "{name}" names no column: give None for the rest'
                )
            continue
        if isinstance(wanted, bool) or not isinstance(wanted, Real):
            raise TypeError(
                f'part "{name}" must be a share, such as 0.1, a dict of conditions,'
                f" such as {{'donor': ['D3']}}, a RowSet, or None, got {wanted!r}"
            )
        share: Any = wanted  # Any: types of numbers do not know each other
        if not 0 < share <= 1:
            raise ValueError(
                f'the share of part "{name}" must be above 0 and at most 1, got'
                f" {wanted}"
            )
    rests = [name for name, wanted in parts.items() if wanted is None]
    if len(rests) > 1:
        raise ValueError(f"only one part can take the rest, got {' and '.join(rests)}")


def _rows_within(source: Any, within: RowSet | npt.ArrayLike | None) -> RowSet:
    n_rows = count_rows(source)
    rows = ~RowSet.of(n_rows, []) if within is None else RowSet.of(n_rows, within)
    if not len(rows):
        raise ValueError("there are no cells to divide: within has no row")
    return rows


def _check_enough(rest: RowSet, names: Sequence[str]) -> None:
    if not len(rest):
        raise ValueError(
            f"no cells are left for the parts {', '.join(names)}: the named groups have"
            " them all"
        )


def _find_weights(shares: Mapping[str, Any]) -> list[int]:
    """Return the shares of parts as integers; None is what the others leave of 1."""
    given = {name: as_fraction(float(x)) for name, x in shares.items() if x is not None}
    total = sum(given.values(), Fraction(0))
    rest = [name for name in shares if name not in given]
    if rest:
        if total >= 1:
            raise ValueError(
                f"the shares add up to {float(total):g}, which leaves nothing for"
                f' "{rest[0]}"'
            )
        given[rest[0]] = 1 - total
    elif abs(total - 1) > _NEAR:
        raise ValueError(
            f"the shares of {', '.join(shares)} must add up to 1, they are"
            f" {float(total):g}; give one part None, which takes the rest"
        )
    if len(given) == 1:
        return [1]
    return find_integers([float(given[name]) for name in shares])


def _find_named(
    source: Any, parts: Mapping[str, Any], rows: RowSet
) -> dict[str, RowSet]:
    """Return the rows of the parts that conditions or a RowSet name."""
    found: dict[str, RowSet] = {}
    named = {name: x for name, x in parts.items() if isinstance(x, Mapping)}
    _check_named_once(named)
    for name, wanted in parts.items():
        if isinstance(wanted, RowSet):
            wanted.check_n_rows(rows.n_rows)
            found[name] = wanted & rows
        elif isinstance(wanted, Mapping):
            if not isinstance(source, Source):
                raise TypeError(
                    f"a {type(source).__name__} has no obs columns, which part"
                    f' "{name}" names: open() it first'
                )
            found[name] = source.where(rows, **wanted)
    return found


def _check_named_once(named: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if a group is named twice: in a list, or by two parts.

    Conditions on several columns name a group twice if each of them has a label in
    common. Ranges are not compared; parts that share cells are noticed anyway.
    """
    seen: list[tuple[str, dict[str, list[Any]]]] = []
    for name, conditions in named.items():
        labels = {column: _listed(x) for column, x in conditions.items()}
        for column, listed in labels.items():
            twice = [x for i, x in enumerate(listed) if x in listed[:i]]
            if twice:
                raise ValueError(
                    f'part "{name}" names {twice[0]!r} of "{column}" twice; name each'
                    " group once"
                )
        for other, before in seen:
            if set(labels) != set(before):
                continue
            common = {c: [x for x in labels[c] if x in before[c]] for c in labels}
            if all(common.values()):
                what = ", ".join(f'{x[0]!r} of "{c}"' for c, x in common.items())
                raise ValueError(
                    f'{what} is named twice: by part "{other}" and by part "{name}";'
                    " a group can be in one part only"
                )
        seen.append((name, labels))


def _listed(wanted: Any) -> list[Any]:
    """Return the labels that a condition lists; none for a range."""
    if isinstance(wanted, tuple):
        return []
    if isinstance(wanted, np.ndarray):
        wanted = wanted.reshape(-1).tolist()
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes)
    return [None if is_missing(x) else x for x in (wanted if several else [wanted])]


def _check_filled(
    found: Mapping[str, RowSet],
    parts: Mapping[str, Any],
    rest: RowSet,
    block_size: int,
) -> None:
    for name, rows in found.items():
        if len(rows):
            continue
        wanted = parts[name]
        if wanted is None:
            why = "the others leave nothing"
        elif isinstance(wanted, Real):
            why = f"a share of {float(wanted):g} of {len(rest):,} cells is none"
            if block_size > 1:
                why += f" in blocks of {block_size:,}; give a smaller block_size"
        else:
            why = f"no cell meets {wanted!r}"
        raise ValueError(f'part "{name}" comes out empty: {why}')
