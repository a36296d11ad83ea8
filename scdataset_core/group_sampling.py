"""A strategy whose minibatches are sets of cells, each of one group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .cell_labels import read_columns
from .checks import check_count, count_rows, digest
from .controls import Match, check_control, check_match, find_controls
from .grouped_cells import GroupedCells, group_cells
from .labels import leave_out
from .row_sets import RowSet, as_index
from .set_orders import CoveringSets, SetOrder, count_sets
from .sets import SetSizes
from .weighted_rows import WeightedRows
from .weighted_sets import WeightedSets

__all__ = ["GroupSampling", "Short"]

Short = Literal["resample", "drop", "keep"]


@dataclass(frozen=True)
class _Prepared:
    """What orders need, made once for some rows of a source.

    Parameters
    ----------
    source, indices
        The source, and the rows of it that were chosen.
    labels
        By column the label of each group.
    cells
        The cells of each group.
    reached
        Running sum of their weights; None without weights.
    """

    source: Any
    indices: Any
    labels: dict[str, list[Any]]
    cells: GroupedCells
    reached: npt.NDArray[np.float64] | None

    def is_of(self, source: Any, indices: Any) -> bool:
        """Whether it was made for these very rows."""
        return self.source is source and self.indices is indices


class GroupSampling(WeightedRows):
    """Minibatches made of sets of cells, each of one group, with controls beside them.

    A minibatch of `batch_size` cells holds ``batch_size / set_size`` sets. The cells of
    set `i` are its rows ``[i * set_size, (i + 1) * set_size)``. ``batch["group"]`` has
    the code of the group of each set, int32; :meth:`groups` says what the codes mean.
    With `control`, ``batch["control"]`` holds the control cells in the same way, with
    X, obs and index of their own: those of set `i` are its rows ``[i * control_size,
    (i + 1) * control_size)``.

    Without `weights`, an epoch takes every cell of every group once, in random sets; a
    group's last set is short where its cells do not divide, see `short`. Sets of all
    groups come in random order.

    Parameters
    ----------
    groups
        What makes a group: an obs column (which the source need not carry), or an array
        with the label of each row of the source, or of each of `indices`; or a list of
        these, whose combinations are the groups, or a mapping from names to these. A
        cell that lacks a label is in no group.
    set_size
        Cells of a set.
    control
        Which cells are controls: conditions by obs column, such as ``{"drug":
        "DMSO"}``, as :meth:`Source.where` takes them; or a RowSet, a mask of all rows,
        or row numbers. Controls are in no group.
    match
        Obs columns in which a set and its controls agree. The cells of a set then agree
        in them too, also where they are not among `groups`. If no control agrees with a
        set in all of them, the last ones are given up one by one. A missing label
        agrees with nothing. The first column is never given up if it is among `groups`.
    control_size
        Controls of a set; `set_size` by default.
    short
        What becomes of a set that the group has not enough cells left for:
        ``"resample"`` fills it with cells of the group that come once more, ``"drop"``
        leaves it out (other cells each epoch), ``"keep"`` fills it with empty rows,
        which needs ``output="padded"``.
    indices
        Rows to use, all by default, for groups and for controls: a RowSet, or an array.
    weights
        A weight for each row of the source, or for each of `indices`. Sets are then
        drawn by weight, with replacement: a cell is expected exactly ``total_sets *
        set_size * w[i] / w.sum()`` times in an epoch, the sum being over the cells of
        groups. Cells of weight 0 are in no group. Controls are drawn alike, whatever
        they weigh.
    total_sets
        Sets of an epoch; by default as many as take every cell once. Without `weights`
        an epoch goes on where the one before it stopped, so that all cells come as
        often as each other over the epochs.
    block_size
        Neighbours among the cells of a group, or among the controls of a set, that are
        taken together, so that reads are contiguous where groups lie together.

    Raises
    ------
    ValueError
        If a size is below 1, arguments do not go together, or labels or weights are
        wrong; when used, if labels or weights do not fit the rows, no group has a set,
        or groups have no control.
    MissingNameError
        When used, if there is no such obs column.

    Notes
    -----
    In a set, a cell of a group of `n` comes at most ``ceil(set_size / n)`` times. With
    weights and blocks of one cell it comes at most once more than its share, rounded
    up. A control of `n` comes at most ``ceil(control_size / n)`` times in a set. Over
    an epoch of the default number of sets, or with weights of any number, controls that
    go with the same sets come equally often, to within one.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad", obs=["cell_line", "drug", "plate"])
    >>> strategy = GroupSampling(
    ...     ["cell_line", "drug"],
    ...     set_size=16,
    ...     control={"drug": "DMSO"},
    ...     match=["cell_line", "plate"],
    ... )
    >>> batch = next(iter(scd.Loader(source, strategy, batch_size=64)))
    >>> batch["group"].shape, batch["X"].shape, batch["control"]["X"].shape
    ((4,), (64, 300), (64, 300))
    >>> {name: len(labels) for name, labels in strategy.groups(source).items()}
    {'cell_line': 8, 'drug': 8}
    """

    def __init__(
        self,
        groups: Any,  # Any: see CellLabels
        set_size: int,
        *,
        control: Mapping[str, Any] | RowSet | npt.ArrayLike | None = None,
        match: str | tuple[str, ...] | list[str] = (),
        control_size: int | None = None,
        short: Short = "resample",
        indices: RowSet | npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        total_sets: int | None = None,
        block_size: int = 1,
    ) -> None:
        super().__init__(indices)
        labels = self._take_labels(groups, "groups")
        if labels is None:
            raise TypeError("groups must be obs columns or labels of cells, got None")
        self._labels = labels
        for name, size in (
            ("set_size", set_size),
            ("control_size", control_size),
            ("total_sets", total_sets),
            ("block_size", block_size),
        ):
            if size is not None:
                check_count(name, size)
        self.set_size = int(set_size)
        self.control = check_control(control)
        self.match = check_match(match)
        self.short = short
        self.weights = self._take_weights(weights)
        self.total_sets = None if total_sets is None else int(total_sets)
        self.block_size = int(block_size)
        self._check_together(control_size)
        n_controls = self.set_size if control_size is None else int(control_size)
        self.control_size = 0 if control is None else n_controls
        self._prepared: _Prepared | None = None

    def _check_together(self, control_size: int | None) -> None:
        """Raise if arguments do not go together."""
        if self.short not in ("resample", "drop", "keep"):
            raise ValueError(
                f'short must be "resample", "drop" or "keep", got {self.short!r}'
            )
        if self.control is None:
            for name, given in (("match", self.match), ("control_size", control_size)):
                if given:
                    raise ValueError(
                        f"{name}={given!r} goes with control, which says which cells"
                        ' are controls, such as control={"drug": "DMSO"}'
                    )
        if self.short == "keep" and self.weights is not None:
            raise ValueError(
                'short="keep" does not go with weights: cells are drawn by weight with'
                ' replacement, so that no set is short; leave short out, or give "drop"'
                " to leave groups out that are smaller than a set"
            )

    @property
    def set_sizes(self) -> SetSizes:
        """How many cells the sets of an epoch have, for the Loader."""
        return SetSizes(self.set_size, self.control_size, self.short == "keep")

    def groups(self, source: Any) -> dict[str, list[Any]]:
        """Return what the codes of ``batch["group"]`` mean.

        Parameters
        ----------
        source
            The source that the Loader draws from.

        Returns
        -------
        labels
            For each column of `groups` the label of group 0, of group 1, and so on. A
            group is a combination that some cell of the source has that is no control,
            whatever `indices` and `short` leave out; groups are sorted by the first
            column, then by the second, and so on. Arrays are called ``groups``, or
            ``groups0``, ``groups1``, ... by their position in the list.
        """
        labels = self._prepare(source).labels
        return {name: list(column) for name, column in labels.items()}

    def order(self, source: Any, *, seed: int, epoch: int) -> SetOrder:
        """Return the sets of this epoch."""
        prepared = self._prepare(source)
        cells, reached = prepared.cells, prepared.reached
        if reached is None:
            return CoveringSets(
                cells,
                self.set_sizes,
                block_size=self.block_size,
                n_sets=self.total_sets,
                drop=self.short == "drop",
                seed=seed,
                epoch=epoch,
            )
        n_sets = self.total_sets
        if n_sets is None:
            drop = self.short == "drop"
            n_sets = int(count_sets(cells.sizes, self.set_size, drop=drop).sum())
        return WeightedSets(
            cells,
            self.set_sizes,
            reached,
            block_size=self.block_size,
            n_sets=n_sets,
            seed=seed,
            epoch=epoch,
        )

    def _prepare(self, source: Any) -> _Prepared:
        """Return the cells of each group; kept for the latest source.

        They are pickled with the strategy, 4 bytes a cell: a worker that made them anew
        would need much more for a while, and cannot read columns of an object in memory
        that the source does not carry.

        Raises
        ------
        ValueError
            If labels or weights do not fit the rows, a group has no control, or no
            group has a set.
        """
        prepared = self._prepared  # another thread may replace it
        if prepared is None or not prepared.is_of(source, self.indices):
            self._prepared = prepared = self._prepare_anew(source)
        return prepared

    def _prepare_anew(self, source: Any) -> _Prepared:
        subset, n = self._subset(source), count_rows(source)
        rows = subset.at(np.arange(subset.n, dtype=np.int64))
        self._find_columns(source)
        listed = slice(None) if self.indices is None else as_index(self.indices, n)
        is_control = find_controls(source, self.control)
        classes, vocabularies = self._labels.read(source)
        codes = classes.codes
        if not self._is_for_listed(codes, source, "groups"):
            classes = leave_out(classes, is_control)
            codes = classes.codes[listed]
        elif is_control is not None:
            classes = leave_out(classes, is_control[listed])
            codes = classes.codes
        labels = {
            name: vocabulary[part].tolist()
            for name, vocabulary, part in zip(
                self._labels.columns, vocabularies, classes.parts.T, strict=True
            )
        }
        weights = None if self.weights is None else self._weights_of(subset, n)
        if weights is not None:
            codes = np.where(np.asarray(weights) > 0, codes, np.int32(-1))
        match = self._find_match(source, is_control, listed)
        cells = group_cells(
            rows,
            codes,
            len(classes.parts),
            match,
            name_group=partial(_name_group, labels),
        )
        cells = self._leave_out_small(cells, labels)
        reached = None
        if weights is not None:
            positions = subset.positions_of(cells.rows.astype(np.int64))
            reached = np.concatenate([[0.0], np.cumsum(weights[positions])])
        return _Prepared(source, self.indices, labels, cells, reached)

    def _find_columns(self, source: Any) -> None:
        """Let the source find all columns at once: it opens its files once for them."""
        controls = self.control if isinstance(self.control, Mapping) else ()
        names = [*self._labels.obs_columns, *controls, *self.match]
        if hasattr(source, "find_columns"):
            source.find_columns(dict.fromkeys(names))

    def _find_match(
        self, source: Any, is_control: npt.NDArray[np.bool_] | None, listed: Any
    ) -> Match | None:
        """Return what sets and controls must agree in, of the rows that are listed."""
        if is_control is None:
            return None
        coded = read_columns(source, self.match)
        first_in_groups = [n for n in self.match[:1] if n in self._labels.obs_columns]
        return Match(
            is_control[listed],
            [column.codes[listed] for column in coded],
            [len(column.labels) for column in coded],
            n_kept=len(first_in_groups),
        )

    def _leave_out_small(
        self, cells: GroupedCells, labels: dict[str, list[Any]]
    ) -> GroupedCells:
        """Leave out the strata that have no set; raise if none has one."""
        if not len(cells.groups):
            raise ValueError(
                f"no cell is in a group of {_name_columns(labels)}: each lacks a label,"
                " is a control, weighs 0 or is left out by indices"
            )
        if self.short != "drop":
            return cells
        kept = cells.sizes >= self.set_size
        if not kept.any():
            raise ValueError(
                f"every group is smaller than set_size={self.set_size}: the largest has"
                f' {cells.sizes.max()} cells, and short="drop" leaves it out; give a'
                ' smaller set_size, or short="resample"'
            )
        return cells.keep(kept)

    def describe(self, source: Any) -> dict[str, Any]:
        """Return what a state keeps of the strategy, the cells of groups as digests."""
        cells = self._prepare(source).cells
        description = super().describe(source)
        del description["control"], description["match"]
        return {
            **description,
            "groups": list(self._labels.columns),
            "cells": [digest(cells.rows), digest(cells.starts), digest(cells.groups)],
            "controls": [digest(cells.controls), digest(cells.pools)],
        }

    def __repr__(self) -> str:
        shown = super().__repr__().partition("(")[2]
        return f"{type(self).__name__}({self._labels!r}, {shown}"


def _name_columns(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _name_group(labels: dict[str, list[Any]], group: int) -> str:
    return ", ".join(f"{name}={column[group]!r}" for name, column in labels.items())
