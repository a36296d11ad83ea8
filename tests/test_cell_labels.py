"""Labels of cells, given as arrays or by the name of an obs column."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.cell_labels import CellLabels

CODES = np.array([2, 0, 2, -1])


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param("drug", ["drug"], id="column"),
        pytest.param(["drug", "plate"], ["drug", "plate"], id="columns"),
        pytest.param(("drug",), ["drug"], id="tuple"),
        pytest.param(CODES, ["labels"], id="array"),
        pytest.param(CODES.tolist(), ["labels"], id="numbers"),
        pytest.param(["a", "b", "a", "b"], ["labels"], id="strings_that_repeat"),
        pytest.param([CODES, CODES], ["labels0", "labels1"], id="arrays"),
        pytest.param(["drug", CODES], ["drug", "labels1"], id="both"),
        pytest.param({"mine": CODES, "drug": "drug"}, ["mine", "drug"], id="mapping"),
    ],
)
def test_columns_have_names(given, names: list[str]) -> None:
    assert list(CellLabels(given, "labels").columns) == names


def test_codes_are_kept_for_a_source_and_pickled_with_it(plates: Path) -> None:
    sources = [scd.open(plates / f"plate{i}.h5ad") for i in (1, 2)]
    labels = CellLabels("drug", "labels")
    first = labels.codes(sources[0])
    assert first.dtype == np.int8
    assert labels.codes(sources[0]) is first
    assert labels.codes(sources[1]).tolist() != first.tolist()
    second = labels.codes(sources[1])
    source, copied = pickle.loads(pickle.dumps((sources[1], labels)))
    source.reopened = None  # it can read no column
    assert copied.codes(source).tolist() == second.tolist()


@pytest.mark.parametrize(("n", "dtype"), [(127, "int8"), (128, "int16"), (9, "int8")])
def test_codes_take_the_narrowest_type(n: int, dtype: str) -> None:
    assert CellLabels(np.arange(n), "labels").codes(range(n)).dtype == dtype


def test_numbers_and_booleans_of_obs_are_labels(plates: Path) -> None:
    source = scd.open(plates / "plate1.h5ad", obs=["total_counts"])
    classes, labels = CellLabels("total_counts", "labels").read(source)
    assert (labels[0][classes.codes] == source.obs["total_counts"]).all()


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(TypeError, match="a ndarray has none"):
        CellLabels("drug", "labels").read(CODES)
    with pytest.raises(TypeError, match="must name an obs column"):
        CellLabels({"a": None}, "labels")
    with pytest.raises(ValueError, match="of the same cells, got 2 and 4"):
        CellLabels([CODES, CODES[:2]], "labels")
