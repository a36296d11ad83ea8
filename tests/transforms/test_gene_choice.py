"""choose_genes keeps a fixed number of genes."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.transforms import choose_genes
from tests.transforms.matrices import LAYOUTS, counts, freeze, lay_out, make_batch


def rows_of(out):
    """Return for each row its columns and values, after checks of the padding."""
    for row, n in enumerate(out["length"].tolist()):
        assert (out["indices"][row, n:] == 0).all()
        assert (out["values"][row, n:] == 0).all()
        yield out["indices"][row, :n].tolist(), out["values"][row, :n].tolist()


@given(counts(), st.sampled_from(LAYOUTS), st.integers(1, 11))
def test_top_equals_a_stable_sort(x, layout, length):
    out = choose_genes(length)(freeze(lay_out(x, layout)))
    assert out["indices"].shape == out["values"].shape == (len(x), length)
    assert out["indices"].dtype == out["length"].dtype == np.int32
    assert out["values"].dtype == x.dtype
    for row, (columns, values) in enumerate(rows_of(out)):
        order = np.argsort(-x[row].astype(np.int64), kind="stable")
        expected = [c for c in order.tolist() if x[row, c]][:length]
        assert columns == expected
        assert values == x[row, expected].tolist()


@given(
    counts(),
    st.sampled_from(LAYOUTS),
    st.integers(1, 11),
    st.sampled_from(["random", "expressed_then_zero"]),
    st.integers(0, 3),
)
def test_random_choices(x, layout, length, how, epoch):
    n_vars = x.shape[1]
    hook = choose_genes(length, how, seed=3, n_vars=n_vars)
    batch = make_batch(freeze(lay_out(x, layout)), first=100)
    out = hook(batch, epoch=epoch)["X"]
    for row, (columns, values) in enumerate(rows_of(out)):
        expressed = np.flatnonzero(x[row]).tolist()
        n = min(len(expressed), length)
        assert columns[:n] == sorted(columns[:n])
        assert set(columns[:n]) <= set(expressed)
        assert values == x[row, columns].tolist()
        assert len(set(columns)) == len(columns)
        full = min(length, n_vars) if how == "expressed_then_zero" else n
        assert len(columns) == full
    # The same for any layout, and for each row on its own.
    other = hook(make_batch(x, first=100), epoch=epoch)["X"]
    last = hook(make_batch(x[-1:], first=99 + len(x)), epoch=epoch)["X"]
    for name in out:
        np.testing.assert_array_equal(out[name], other[name])
        np.testing.assert_array_equal(out[name][-1:], last[name])


def test_every_gene_is_as_likely_as_another():
    n_rows, n_vars, length = 4000, 40, 10
    x = np.ones((n_rows, n_vars), np.float32)
    x[:, 20:] = 0
    out = choose_genes(length, "random")(make_batch(x))["X"]
    times = np.bincount(out["indices"].ravel(), minlength=n_vars)
    assert (times[20:] == 0).all()
    # Each of 20 genes is kept with probability 1/2, in 2,000 of 4,000 rows.
    assert (abs(times[:20] - 2000) < 5 * np.sqrt(1000)).all()
    zero = choose_genes(30, "expressed_then_zero")(make_batch(x))["X"]
    times = np.bincount(zero["indices"].ravel(), minlength=n_vars)
    assert (times[:20] == n_rows).all()
    assert (abs(times[20:] - 2000) < 5 * np.sqrt(1000)).all()


def test_another_epoch_row_and_seed_give_other_genes():
    x = np.ones((2, 200))
    hook = choose_genes(20, "random", seed=0)
    first = hook(make_batch(x))["X"]["indices"]
    assert first[0].tolist() != first[1].tolist()
    for other in (
        hook(make_batch(x), epoch=1),
        choose_genes(20, "random", seed=1)(make_batch(x)),
        hook(make_batch(x, first=7)),
    ):
        assert other["X"]["indices"].tolist() != first.tolist()


def test_filled_rows_stay_empty():
    padded = lay_out(np.array([[1, 0, 0], [0, 0, 0]]), "padded")
    batch = {**make_batch(padded), "index": np.array([4, -1])}
    out = choose_genes(3, "expressed_then_zero", n_vars=3)(batch)["X"]
    assert out["length"].tolist() == [3, 0]


def test_padded_rows_do_not_tell_the_number_of_genes():
    batch = make_batch(lay_out(np.ones((1, 2)), "padded"))
    with pytest.raises(ValueError, match=r"choose_genes: .*give n_vars=source\.shape"):
        choose_genes(2, "expressed_then_zero")(batch)


def test_x_alone_has_no_rows_to_key_by():
    with pytest.raises(TypeError, match="choose_genes: random numbers are drawn for"):
        choose_genes(2, "random")(np.ones((1, 5)))


def test_nan():
    with pytest.raises(ValueError, match="choose_genes: X has NaN"):
        choose_genes(2)(np.array([[1.0, np.nan]]))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        choose_genes(0)
    with pytest.raises(ValueError, match="how must be one of"):
        choose_genes(3, "best")
    with pytest.raises(TypeError, match="seed must be an integer"):
        choose_genes(3, seed=0.5)


def test_repr_and_pickle():
    hook = choose_genes(3, "random", 5)
    assert repr(hook) == "choose_genes(length=3, how='random', seed=5)"
    assert pickle.loads(pickle.dumps(hook)) == hook
