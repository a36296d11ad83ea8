"""Which controls go with the cells of a group, against looking at every cell."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.controls import Match
from scdataset_core.grouped_cells import group_cells

N_LABELS = 3


@given(st.data())
def test_controls_agree_in_as_many_first_columns_as_any_does(data) -> None:
    n = data.draw(st.integers(1, 40))
    column = st.lists(st.integers(-1, N_LABELS - 1), min_size=n, max_size=n)
    n_columns = data.draw(st.integers(0, 3))
    columns = [np.array(data.draw(column), np.int32) for _ in range(n_columns)]
    groups = np.array(data.draw(column), np.int32)
    is_control = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    groups[is_control] = -1
    rows = np.cumsum(data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)))
    n_kept = data.draw(st.integers(0, min(1, n_columns)))
    match = Match(is_control, columns, [N_LABELS] * n_columns, n_kept)

    def controls_of(cell: int) -> list[int]:
        for n_matched in range(n_columns, n_kept - 1, -1):
            found = [
                int(rows[other])
                for other in np.flatnonzero(is_control)
                if all(
                    columns[i][other] == columns[i][cell] >= 0 for i in range(n_matched)
                )
            ]
            if found:
                return found
        return []

    expected = {int(rows[c]): controls_of(c) for c in np.flatnonzero(groups >= 0)}
    without = {
        int(groups[c]) for c in np.flatnonzero(groups >= 0) if not controls_of(c)
    }
    if without:
        with pytest.raises(ValueError, match=f"goes with {len(without)} of the groups"):
            group_cells(rows, groups, N_LABELS, match, name_group=str)
        return
    cells = group_cells(rows, groups, N_LABELS, match, name_group=str)
    seen = []
    for stratum, (start, size) in enumerate(
        zip(cells.starts[:-1], cells.sizes, strict=True)
    ):
        low, high = cells.pools[stratum]
        controls = sorted(cells.controls[low:high].tolist())
        its_rows = cells.rows[start : start + size].tolist()
        assert its_rows == sorted(its_rows)
        for row in its_rows:
            assert controls == expected[row]
            assert groups[rows == row] == cells.groups[stratum]
        seen += its_rows
    assert sorted(seen) == sorted(expected)
    # Strata with the same controls are neighbours.
    pools = [tuple(pool) for pool in cells.pools.tolist()]
    changes = sum(one != other for one, other in pairwise(pools))
    assert len(set(pools)) == min(1, len(pools)) + changes
