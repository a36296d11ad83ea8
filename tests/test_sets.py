"""Sets: which rows a minibatch of sets reads, and where its cells stand."""

import numpy as np
import pytest

from scdataset_core import Plan
from scdataset_core.group_sampling import GroupSampling
from scdataset_core.sets import Sets, SetSizes, pick_cells


def test_cells_come_before_controls_and_short_sets_leave_slots() -> None:
    sizes = SetSizes(3, 2, may_be_short=True)
    groups = np.array([5, 1], np.int32)
    sets = Sets(groups, np.array([3, 1]), np.array([[90, 91], [92, 93]]))
    rows, of_batch = pick_cells(np.arange(6), sets, sizes)
    assert rows.tolist() == [0, 1, 2, 3, 90, 91, 92, 93]
    assert of_batch.n_controls == 4
    assert of_batch.groups.tolist() == [5, 1]
    assert of_batch.slots is not None
    assert of_batch.slots.tolist() == [0, 1, 2, 3]
    assert sizes.count_rows(6) == 10


@pytest.mark.parametrize(
    ("batch_size", "words"), [(2, "got 2; give 3"), (8, "got 8; give 6 or 9")]
)
def test_a_minibatch_that_cuts_a_set_is_an_error(batch_size: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SetSizes(3).check_batch_size(batch_size)
    order = GroupSampling([0, 1, 0, 1], 3).order(range(4), seed=0, epoch=0)
    with pytest.raises(ValueError, match=words):
        Plan(order, batch_size=batch_size)


def test_a_fetch_has_the_rows_of_its_minibatches_and_controls() -> None:
    codes = np.arange(60) % 4
    strategy = GroupSampling(codes, 5, control=codes == 3, control_size=2)
    order = strategy.order(codes, seed=0, epoch=0)
    plan = Plan(order, batch_size=10, fetch_factor=2, rank=1, world_size=2)
    whole = order.rows(0, len(order))
    for fetch, entire in zip(plan.fetches(), plan.fetches(whole=True), strict=True):
        for found in (fetch, entire):
            by_place = np.empty_like(found.rows)
            by_place[found.places] = found.rows
            for (number, start, stop), sets in zip(
                found.batches, found.sets, strict=True
            ):
                low = number * 10
                assert by_place[start:stop].tolist() == whole[low : low + 10].tolist()
                controls = order.sets(number * 2, number * 2 + 2).control.reshape(-1)
                assert by_place[stop : stop + sets.n_controls].tolist() == (
                    controls.tolist()
                )
        assert [b.number for b in fetch.batches] == [b.number for b in entire.batches]
        assert len(fetch.rows) == 14 * len(fetch.batches) <= len(entire.rows)
