"""rank_tokens is Geneformer's encoding."""

import pickle

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

import scdataset_core as scd
from scdataset_core.transforms import normalize_total, rank_tokens
from tests.transforms.matrices import (
    LAYOUTS,
    counts,
    freeze,
    lay_out,
    make_batch,
)


def rank_by_definition(x, tokens, medians):
    """Return the tokens of each row: a plain loop over the published formula."""
    ranked = []
    for row in x.astype(np.float64):
        takes_part = (row > 0) & (tokens >= 0) & ~np.isnan(medians)
        columns = np.flatnonzero(takes_part)
        ratios = row[columns] / medians[columns]
        ranked.append(tokens[columns[np.argsort(-ratios, kind="stable")]])
    return ranked


@st.composite
def corpora(draw):
    x = draw(counts())
    n_vars = x.shape[1]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    tokens = rng.permutation(n_vars) + 4
    medians = rng.choice([0.5, 1.0, 1.7, 3.0], n_vars)
    if n_vars > 1:
        tokens[rng.integers(n_vars - 1)] = -1
        medians[rng.integers(n_vars - 1)] = np.nan
    return x, tokens, medians


@given(corpora(), st.sampled_from(LAYOUTS), st.integers(1, 8), st.booleans())
def test_equals_the_definition(corpus, layout, length, fractions):
    x, tokens, medians = corpus
    if fractions:
        x = normalize_total()(x)
    out = rank_tokens(tokens, medians, length)(freeze(lay_out(x, layout)))
    assert {name: part.dtype for name, part in out.items()} == {
        "tokens": np.int32,
        "length": np.int32,
    }
    assert out["tokens"].shape == (len(x), length)
    for row, expected in enumerate(rank_by_definition(x, tokens, medians)):
        n = out["length"][row]
        assert n == min(len(expected), length)
        assert out["tokens"][row, :n].tolist() == expected[:length].tolist()
        assert (out["tokens"][row, n:] == 0).all()


def test_equals_the_published_formula_with_totals():
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(0.3, 4, 500), (40, 500)).astype(np.float32)
    medians, tokens = rng.gamma(2, 1, 500) + 0.1, np.arange(500) + 4
    tokens[::3] = -1
    out = rank_tokens(tokens, medians, 2048)(csr_array(x))
    has_token = tokens >= 0
    totals = x.sum(axis=1, keepdims=True)
    normed = (x[:, has_token] / totals * 10_000 / medians[has_token]).astype(np.float64)
    for row in range(len(x)):
        columns = np.flatnonzero(normed[row])
        order = columns[np.argsort(-normed[row, columns], kind="stable")]
        n = out["length"][row]
        assert out["tokens"][row, :n].tolist() == tokens[has_token][order].tolist()


def test_equal_ranks_come_in_the_order_of_the_columns():
    x = csr_array(([3.0, 6.0, 1.5], [2, 1, 0], [0, 3]), shape=(1, 3))  # not sorted
    out = rank_tokens([7, 8, 9], [1.5, 6.0, 3.0], 4)(x)
    assert out["tokens"].tolist() == [[7, 8, 9, 0]]


def test_ranks_that_differ_in_the_last_bits_only():
    x = np.full((1, 9), 3.0)
    x[0, 5] = np.nextafter(3.0, 4)
    x[0, 2] = np.nextafter(3.0, 2)
    out = rank_tokens(np.arange(9), np.ones(9), 9)(x)
    assert out["tokens"].tolist() == [[5, 0, 1, 3, 4, 6, 7, 8, 2]]


def test_special_tokens():
    x = np.array([[1, 2, 3], [0, 0, 0], [0, 1, 0]])
    special = {"pad": 9, "cls": 2, "eos": 3}
    hook = rank_tokens([10, 11, 12], [1, 1, 1], 4, special)
    filled = np.array([[1, 2, 3], [0, 0, 0], [0, 0, 0]])
    out = hook({"X": filled, "obs": {}, "index": np.array([5, 6, -1])})["X"]
    assert out["tokens"].tolist() == [[2, 12, 11, 3], [2, 3, 9, 9], [9, 9, 9, 9]]
    assert out["length"].tolist() == [4, 2, 0]
    marked = {f"<{name}>": token for name, token in special.items()}
    assert repr(rank_tokens([10, 11, 12], [1, 1, 1], 4, marked)) == repr(hook)
    only_first = rank_tokens([10, 11, 12], [1, 1, 1], 3, {"cls": 2})(x)
    assert only_first["tokens"].tolist() == [[2, 12, 11], [2, 0, 0], [2, 11, 0]]


def test_names_in_place_of_columns():
    vocabulary = {"<pad>": 0, "A": 5, "B": 6, "C": 7}
    hook = rank_tokens(
        vocabulary, {"A": 1.0, "B": 1.0}, 3, var_names=["C", "B", "X", "A"]
    )
    # C has no median and X no token: both are left out.
    assert hook(np.array([[9, 1, 9, 2]]))["tokens"].tolist() == [[5, 6, 0]]
    assert "n_genes=2" in repr(hook)


def test_length_none_keeps_the_width_of_padded_rows():
    padded = lay_out(np.array([[1, 2, 0, 4]]), "padded", width=6)
    hook = rank_tokens([1, 2, 3, 4], [1] * 4, None, {"cls": 40, "eos": 41})
    out = hook(padded)
    assert out["tokens"].tolist() == [[40, 4, 2, 1, 41, 0, 0, 0]]
    with pytest.raises(ValueError, match="length=None goes with padded rows"):
        rank_tokens([1, 2], [1, 1], None)(np.ones((1, 2)))


@pytest.mark.parametrize(
    ("tokens", "medians", "options", "error", "match"),
    [
        ([1.0], [1], {}, TypeError, "gene_tokens must be integers, got float64"),
        ([1, 2], [1], {}, ValueError, "must be of one length.*got 2 and 1"),
        ([[1]], [1], {}, ValueError, r"gene_tokens must have shape \(n_vars,\)"),
        ([-1, 3], [1, np.nan], {}, ValueError, "none of the genes has both"),
        ([1, 2], [1, 0], {}, ValueError, "medians must be above 0, got 0.0 for gene 1"),
        ([1], [-2], {}, ValueError, "medians must be above 0, got -2.0"),
        ([1], [1], {"length": 0}, ValueError, "length must be at least 1, got 0"),
        (
            [7],
            [1],
            {"length": 2, "special": {"cls": 1, "eos": 2}},
            ValueError,
            "length must be at least 3",
        ),
        ([1], [1], {"special": {"clss": 2}}, ValueError, "special names 'clss'.*cls"),
        ([1], [1], {"special": {"cls": 1}}, ValueError, "'cls' is 1, which is also"),
        ({"A": 1}, [1], {}, TypeError, "give var_names=source.var_names too"),
        (
            {"A": 1},
            {"A": 1},
            {"var_names": ["ENSG1"]},
            ValueError,
            'as in "ENSG1", and those of gene_tokens as in "A"',
        ),
        ([1], [1], {"var_names": ["A", "B"]}, ValueError, "var_names has 2 names"),
    ],
)
def test_wrong_arguments(tokens, medians, options, error, match):
    with pytest.raises(error, match=match):
        rank_tokens(tokens, medians, **options)


def test_x_of_other_genes():
    hook = rank_tokens([1, 2], [1, 1])
    with pytest.raises(ValueError, match="gene_tokens has 2 genes, and X has 3"):
        hook(np.ones((1, 3)))
    with pytest.raises(ValueError, match="rank_tokens: X has column 2"):
        hook(lay_out(np.ones((1, 3)), "padded"))


def test_names_in_another_order_than_the_genes_of_the_source():
    adata = ad.AnnData(np.eye(3, dtype=np.float32))
    adata.var_names = ["A", "B", "A-1"]
    source = scd.open(adata)
    tokens, medians = {"A": 1, "B": 2}, {"A": 1.0, "B": 1.0}
    hook = rank_tokens(tokens, medians, 3, var_names=["A-1", "A", "B"])
    with pytest.raises(ValueError, match='"A-1" for column 0'):
        scd.Loader(source, batch_transform=hook)
    symbols = rank_tokens(tokens, medians, 3, var_names=["A", "B", "A"])
    scd.Loader(source, batch_transform=symbols)
    by_id = rank_tokens({"E2": 1}, {"E2": 1.0}, 3, var_names=["E1", "E2", "E3"])
    batch = scd.Loader(source, scd.Streaming(), batch_transform=by_id).batch(0)
    assert batch["X"]["length"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_values_that_are_no_counts(value):
    with pytest.raises(ValueError, match="rank_tokens: values must be counts"):
        rank_tokens([1, 2], [1, 1])(np.array([[1.0, value]]))


def test_tokens_are_no_counts():
    hook = rank_tokens([1, 2], [1, 1])
    tokens = hook(make_batch(np.ones((1, 2))))
    with pytest.raises(TypeError, match="put this transform before rank_tokens"):
        hook(tokens)


def test_repr_and_pickle():
    hook = rank_tokens([1, -1], [1, 1], 16)
    expected = "rank_tokens(length=16, special={'pad': 0}, n_genes=1)"
    assert repr(pickle.loads(pickle.dumps(hook))) == expected
