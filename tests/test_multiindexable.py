"""Several aligned collections indexed as one."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scdataset_core import BlockShuffling, Loader, MultiIndexable


def test_rows_are_taken_from_all():
    multi = MultiIndexable(rna=np.arange(8).reshape(4, 2), label=np.arange(4) * 10)
    taken = multi[np.array([3, 1])]
    assert taken["rna"].tolist() == [[6, 7], [2, 3]]
    assert taken["label"].tolist() == [30, 10]
    assert taken.names == ["rna", "label"]
    assert len(multi) == 4


def test_positions_and_names():
    a, b = np.arange(3), np.arange(3)
    multi = MultiIndexable(a, b)
    assert multi[0] is a
    assert multi[-1] is b
    assert multi.names is None
    assert list(multi) == [a, b] or multi.count == 2
    named = MultiIndexable(a, b, names=["a", "b"], unstructured={"genes": ["g"]})
    assert named["b"] is b
    assert named[np.array([0])].unstructured == {"genes": ["g"]}
    assert MultiIndexable({"a": a})["a"] is a


def test_a_loader_over_several():
    x = sp.csr_array(np.arange(20)[:, None])
    multi = MultiIndexable(x=x, y=np.arange(20))
    for batch in Loader(multi, BlockShuffling(2), batch_size=6):
        assert np.array_equal(batch["x"].toarray()[:, 0], batch["y"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MultiIndexable(), TypeError, "at least one"),
        (lambda: MultiIndexable(np.arange(2), a=np.arange(2)), TypeError, "both"),
        (lambda: MultiIndexable(np.arange(2), np.arange(3)), ValueError, "length 3"),
        (lambda: MultiIndexable(np.arange(2), names=["a", "b"]), ValueError, "names"),
        (lambda: MultiIndexable(3), TypeError, "position 0"),
        (lambda: MultiIndexable(a="a.h5ad"), TypeError, r"path 'a\.h5ad'.*\.open"),
        (lambda: MultiIndexable(np.arange(2), unstructured=1), TypeError, "dictionary"),
        (lambda: MultiIndexable(np.arange(2))["a"], KeyError, "No named"),
        (lambda: MultiIndexable(a=np.arange(2))["b"], KeyError, "Available keys"),
        (lambda: MultiIndexable(np.arange(2))[5], IndexError, "out of range"),
        (lambda: MultiIndexable(np.arange(2))[np.array([9])], IndexError, "Invalid"),
    ],
)
def test_refuses_what_does_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rows_of_pandas_objects_are_those_at_the_positions():
    numbers = np.arange(40)
    shuffled = numbers[::-1]
    frame = pd.DataFrame({"number": numbers}, index=shuffled)
    multi = MultiIndexable(x=numbers, series=frame["number"], frame=frame)
    for batch in Loader(multi, BlockShuffling(2), batch_size=6, fetch_factor=2):
        assert batch["series"].tolist() == batch["x"].tolist()
        assert batch["frame"]["number"].tolist() == batch["x"].tolist()
    with pytest.raises(IndexError, match="Invalid"):
        multi[np.array([40])]
