"""Sizes: checked where they are made, in numbers that are JSON."""

import dataclasses
import json

import numpy as np
import pytest

from scdataset_core.sizes import Sizes


def test_sizes_of_numpy_numbers_are_json():
    sizes = Sizes(np.int32(5), np.int16(3), np.True_)
    assert json.loads(json.dumps(dataclasses.asdict(sizes))) == {
        "batch_size": 5,
        "fetch_factor": 3,
        "drop_last": True,
        "uneven": "trim",
    }
    assert sizes.fetch_rows == 15


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"fetch_factor": 1.5}, TypeError, "fetch_factor must be an integer"),
        ({"drop_last": "false"}, TypeError, "drop_last must be True or False, got 'f"),
        ({"drop_last": None}, TypeError, "drop_last must be True or False, got None"),
        ({"uneven": "drop"}, ValueError, 'uneven must be "trim" or "pad", got'),
    ],
)
def test_refuses_sizes_that_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        Sizes(**given)
