"""What one read is asked for: batches, places, and the same request for other rows."""

import numpy as np
import pytest

from scdataset_core.form import Form
from scdataset_core.sources.read_request import ReadRequest
from scdataset_core.storage import ReadContext


def make_request(rows, places, bounds):
    arrays = (np.array(x, np.int64) for x in (rows, places, bounds))
    return ReadRequest(*arrays, Form("csr"), ReadContext())


def test_each_row_has_a_batch_and_a_position_in_it():
    request = make_request([3, 4, 8], [2, 0, 1], [0, 1, 3])
    assert request.n_batches == 2
    assert request.batch_sizes == [1, 2]
    assert request.batch_of_row.tolist() == [1, 0, 1]
    assert request.position_of_row.tolist() == [1, 0, 0]
    assert [request.batch_rows(batch).tolist() for batch in (0, 1)] == [[4], [8, 3]]


def test_other_rows_are_sorted_and_keep_their_places():
    request = make_request([3, 4, 8], [2, 0, 1], [0, 1, 3])
    other = request.for_rows(np.array([50, 10, 40]))
    assert other.rows.tolist() == [10, 40, 50]
    assert other.rows_by_place.tolist() == [10, 40, 50]


def test_batches_are_made_in_order():
    request = make_request([0, 1, 2], [0, 1, 2], [0, 1, 1, 3])
    assert request.make_batches(lambda batch: batch * 10) == [0, 10, 20]


@pytest.mark.parametrize(
    ("places", "bounds", "message"),
    [
        pytest.param([0, 0], [0, 2], "places must be a permutation", id="twice"),
        pytest.param([0, 2], [0, 2], "places must be a permutation", id="outside"),
        pytest.param([0], [0, 2], "places must be a permutation", id="too_few"),
        pytest.param([0, 1], [0, 1], "bounds must go from 0 to 2", id="not_all"),
        pytest.param([0, 1], [0, 2, 1, 2], "bounds must go", id="falling"),
        pytest.param([0, 1], [], "bounds must go from 0 to 2", id="no_bounds"),
    ],
)
def test_a_wrong_request_cannot_be_made(places, bounds, message):
    with pytest.raises(ValueError, match=message):
        make_request([5, 6], places, bounds)
