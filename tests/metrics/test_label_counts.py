"""Numbers of labels, against NumPy."""

import numpy as np
import pytest

from scdataset_core.metrics.label_counts import count_labels, number_labels


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array([3, -1, 7, 3]), id="int64"),
        pytest.param(np.array([-128, 127, 0], np.int8), id="int8"),
        pytest.param(np.array([2**63 + 5, 2**63 + 2], np.uint64), id="uint64"),
        pytest.param(np.array([-(2**62), 2**62]), id="far_apart"),
        pytest.param(np.array([True, False, True]), id="bool"),
        pytest.param(np.array([True, True]), id="one_bool"),
        pytest.param(np.array(["b", "a", "b"]), id="text"),
        pytest.param(np.array([0.5, 0.25]), id="float"),
        pytest.param(np.array(["b", "a", None, "b"], object), id="missing"),
    ],
)
def test_every_label_has_its_number(labels):
    values, numbers = number_labels(labels)
    assert [values[number] for number in numbers] == labels.tolist()
    assert sorted(set(numbers.tolist())) == list(range(len(values)))
    assert [type(value) for value in values] == [
        type(labels[numbers == number].tolist()[0]) for number in range(len(values))
    ]


def test_counts_of_many_labels_come_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    batches = [rng.integers(50, size=8) for _ in range(20)]
    whole = list(count_labels(batches))
    monkeypatch.setattr("scdataset_core.metrics.label_counts._CELLS", 150)
    parts = list(count_labels(batches))
    assert len(whole) == 1 < len(parts)
    assert np.array_equal(np.concatenate([p.counts for p in parts]), whole[0].counts)
    assert np.concatenate([p.sizes for p in parts]).tolist() == [8] * 20
