"""What a user's strategy gives is checked, and errors name the strategy."""

import numpy as np
import pytest

from scdataset_core import Loader


def rows_of(batches):
    return [row for batch in batches for row in batch.tolist()]


class Wrong:
    """A strategy whose order gives what it is told to."""

    def __init__(self, rows, shuffle=True):
        self.given, self.shuffle = rows, shuffle

    def order(self, source, *, seed, epoch):
        return self

    def __len__(self):
        return 90

    def rows(self, start, stop):
        return self.given(np.arange(start, stop))


WRONG_ROWS = [
    pytest.param(
        lambda rows: np.where(rows == 70, -5, rows), "row -5 at position 70", id="below"
    ),
    pytest.param(
        lambda rows: rows + 1,
        "of Wrong gave row 90 at position 89 of the epoch; there are 90 rows",
        id="above",
    ),
    pytest.param(
        lambda rows: rows.astype(np.uint64) + np.uint64(2**63), "at position 0", id="u8"
    ),
    pytest.param(lambda rows: rows[1:], "gave 89 rows, and 90 were asked", id="few"),
    pytest.param(lambda rows: np.r_[rows, 0], "gave 91 rows", id="many"),
    pytest.param(lambda rows: rows.astype(float), "got float64", id="floats"),
    pytest.param(lambda rows: rows > 3, "got bool", id="booleans"),
    pytest.param(lambda rows: rows[:, None], r"shape \(90, 1\)", id="2-D"),
]


@pytest.mark.parametrize(("given", "message"), WRONG_ROWS)
@pytest.mark.parametrize("read_ahead", [0, 1])
def test_rows_of_a_users_strategy_are_checked(given, message, read_ahead):
    loader = Loader(np.arange(90), Wrong(given), read_ahead=read_ahead)
    with pytest.raises(ValueError, match=message):
        list(loader)


def test_rows_of_a_users_strategy_may_be_of_any_integer_type():
    loader = Loader(np.arange(90), Wrong(lambda rows: rows.astype(np.uint8).tolist()))
    assert sorted(rows_of(loader)) == list(range(90))


def test_rows_of_a_users_strategy_are_copied():
    buffer = np.empty(90, np.int64)

    def overwrites(rows):
        buffer[: len(rows)] = rows
        return buffer[: len(rows)]

    loader = Loader(np.arange(90), Wrong(overwrites, shuffle=False), batch_size=8)
    batches = iter(loader)
    first = next(batches)
    buffer[:] = -1
    assert first.tolist() + rows_of(batches) == list(range(90))


def test_what_is_no_order_is_refused_with_the_strategy_named():
    class Nothing:
        def order(self, source, *, seed, epoch):
            return np.arange(90)

    with pytest.raises(TypeError, match=r"Nothing.order must return an order"):
        Loader(np.arange(90), Nothing())
