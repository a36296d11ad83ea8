"""Columns of Arrow's types as obs columns."""

import numpy as np
import pytest

from scdataset_core.sources.arrow.columns import (
    CodesOf,
    convert_all_numbers,
    plain_column,
)
from scdataset_core.sources.obs.columns import LabelColumn, NumberColumn, Unreadable
from scdataset_core.sources.ranged.row_arrays import MemoryArray

pa = pytest.importorskip("pyarrow")


def column_of(*pieces):
    """Return the column whose values are pieces in memory."""

    def make_array(dtype, convert, name):
        values = np.concatenate([convert(piece) for piece in pieces])
        return MemoryArray(values.astype(dtype), name)

    may_miss = any(piece.null_count for piece in pieces)
    return plain_column(
        pieces[0].type, "drug", make_array, lambda: pieces, may_miss=lambda: may_miss
    )


def test_text_becomes_sorted_labels_and_codes():
    column = column_of(pa.array(["b", None, "a"]), pa.array(["c", "b"]))
    assert isinstance(column, LabelColumn)
    assert column.labels == ["a", "b", "c"]
    assert column.codes.read(0, 5).tolist() == [1, -1, 0, 2, 1]


def test_numbers_keep_their_type_and_have_a_mask_where_some_are_missing():
    column = column_of(pa.array([1, None, 3], pa.int16()))
    assert isinstance(column, NumberColumn)
    assert column.values.dtype == np.int16
    assert column.mask is not None
    assert column.mask.read(0, 3).tolist() == [False, True, False]
    assert column_of(pa.array([True, False])).mask is None


def test_other_types_are_unreadable_and_named():
    column = column_of(pa.array([[1], [2]]))
    assert column == Unreadable("it is list<item: int64>")


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint32"])
def test_codes_of_a_dictionary_with_missing_entries(kind):
    labels = pa.array(["a", "b"])
    codes = pa.array([1, None, 0], getattr(pa, kind)())
    stored = pa.DictionaryArray.from_arrays(codes, labels)
    assert CodesOf(labels)(stored).tolist() == [1, -1, 0]
    assert CodesOf(pa.array(["b", "c", "a"]))(stored).tolist() == [0, -1, 2]


def test_an_entry_that_is_no_label_is_named():
    with pytest.raises(KeyError, match="'c'"):
        CodesOf(pa.array(["a", "b"]))(pa.array(["a", "c"]))


def test_numbers_that_should_not_be_missing():
    assert convert_all_numbers(pa.array([1, 2])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="1 values are missing, and the file says"):
        convert_all_numbers(pa.array([1, None]))
