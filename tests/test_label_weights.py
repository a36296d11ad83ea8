"""Weights of cells from their labels."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import BlockWeightedSampling, class_weights

CODES = st.lists(st.integers(-1, 4), min_size=1, max_size=40).filter(
    lambda codes: max(codes) >= 0
)


@given(CODES, st.floats(0, 3))
def test_a_cell_weighs_a_power_of_the_size_of_its_class(codes, power) -> None:
    sizes = Counter(codes)
    expected = [0.0 if c < 0 else float(sizes[c]) ** -power for c in codes]
    assert class_weights(np.array(codes), power=power).tolist() == pytest.approx(
        expected
    )


@given(CODES, st.floats(0.01, 1e6))
def test_smoothed_classes_weigh_as_labels_of_scdataloader(codes, s) -> None:
    weights = class_weights(np.array(codes), smoothing=s)
    for code, n in Counter(codes).items():
        total = weights[np.array(codes) == code].sum()
        assert total == pytest.approx(0.0 if code < 0 else s * n / (n + s))


def test_several_labels_make_joint_classes() -> None:
    drug = ["a", "a", "a", "b", "b", None]
    line = np.array([0, 0, 1, 1, -1, 0], np.int8)
    assert class_weights(drug, line).tolist() == [0.5, 0.5, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8"])
def test_numbers_of_numpy_give_the_same_weights(dtype) -> None:
    codes, two = [0, 0, 0, 1], np.dtype(dtype).type(2)
    for name in ("power", "smoothing"):
        given, plain = ({name: value} for value in (two, 2))
        weights = class_weights(codes, **given)
        assert weights.tolist() == class_weights(codes, **plain).tolist()


def test_power_0_leaves_cells_as_they_are() -> None:
    assert class_weights(["a", "a", "b", None], power=0).tolist() == [1.0, 1.0, 1.0, 0]


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        pytest.param([], {}, "needs labels", id="none"),
        pytest.param([[0, 1], [0]], {}, "labels 0 are 2 and labels 1 1", id="lengths"),
        pytest.param([[-1, -1]], {}, "none of the 2 cells", id="all_missing"),
        pytest.param(
            [[0, -1], [-1, 0]], {}, "none of the 2 cells has all", id="never_all"
        ),
        pytest.param([[0]], {"power": -1}, "power must be .* at least 0", id="power"),
        pytest.param([[0]], {"power": np.nan}, "power must be", id="power_nan"),
        pytest.param([[0]], {"smoothing": 0}, "smoothing must be", id="smoothing"),
        pytest.param(
            [[0]], {"power": 0.5, "smoothing": 9}, "does not go with", id="both"
        ),
    ],
)
def test_what_gives_no_weights_is_refused(labels, options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        class_weights(*labels, **options)


def test_draws_of_each_class_are_as_expected() -> None:
    """A z-test over seeds: of 600 draws a class gets its share of the weights."""
    codes = np.repeat([0, 1, 2, -1], [300, 80, 20, 50])
    np.random.default_rng(0).shuffle(codes)
    weights = class_weights(codes, smoothing=40)
    strategy = BlockWeightedSampling(4, weights=weights, total_size=600)
    shares = np.array([weights[codes == c].sum() for c in range(-1, 3)])
    expected = 600 * shares / shares.sum()
    counts = []
    for seed in range(100):
        rows = strategy.order(range(450), seed=seed, epoch=0).rows(0, 600)
        counts.append(np.bincount(codes[rows] + 1, minlength=4))
    assert not any(drawn[0] for drawn in counts)
    error = np.std(counts, axis=0)[1:] / np.sqrt(100)
    z = (np.mean(counts, axis=0) - expected)[1:] / error
    assert np.abs(z).max() < 4
