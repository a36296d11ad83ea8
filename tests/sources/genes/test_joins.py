"""Joining the genes of several files, and selecting among them."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.sources.genes.joins import join_genes
from scdataset_core.storage import ReadContext


def frames(gene_lists, n=9):
    """Return a table of values for each list of genes, one row a cell."""
    rng = np.random.default_rng(0)
    tables = []
    for genes in gene_lists:
        values = rng.integers(1, 50, (n, len(genes))) * (
            rng.random((n, len(genes))) < 0.6
        )
        tables.append(pd.DataFrame(values.astype(np.float32), columns=genes))
    return tables


def write(folder, tables, dense=False):
    paths = []
    for i, table in enumerate(tables):
        X = table.to_numpy()
        var = pd.DataFrame(index=pd.Index(table.columns, dtype=object))
        obs = pd.DataFrame(index=[f"{i}-{row}" for row in range(len(table))])
        adata = ad.AnnData(X if dense else sp.csr_matrix(X), obs=obs, var=var)
        paths.append(folder / f"{i}.h5ad")
        adata.write_h5ad(paths[-1])
    return paths


def dense(x):
    return x.toarray() if sp.issparse(x) else x


LISTS = [["a", "b", "c", "d"], ["d", "e", "b"], ["b", "d", "c", "e", "f"]]


@pytest.mark.parametrize("as_dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize(
    ("join", "genes", "names"),
    [
        ("inner", None, ["b", "d"]),
        ("outer", None, ["a", "b", "c", "d", "e", "f"]),
        ("outer", ["f", "a", "d"], ["f", "a", "d"]),
        ("outer", [3, 0], ["d", "a"]),
        ("inner", ["d"], ["d"]),
    ],
)
def test_joined_values_are_those_of_pandas(join, genes, names, as_dense, tmp_path):
    tables = frames(LISTS)
    source = scd.open(write(tmp_path, tables, as_dense), join=join, genes=genes)
    want = pd.concat(tables, ignore_index=True).reindex(columns=names).fillna(0)
    assert source.var_names.tolist() == names
    rng = np.random.default_rng(1)
    rows = np.sort(rng.integers(0, len(source), 40))
    places = rng.permutation(40)
    of_place = np.empty_like(rows)
    of_place[places] = rows
    bounds = np.array([0, 13, 13, 40])
    for form in (Form("csr"), Form("dense"), Form("dense", np.dtype(np.float16))):
        with ReadContext(2) as context:
            parts = source.read_batches(rows, places, bounds, form, context)
        got = np.concatenate([dense(part["X"]) for part in parts])
        np.testing.assert_array_equal(got, want.to_numpy()[of_place])


@given(data=st.data())
@settings(max_examples=60)
def test_tables_lead_every_gene_to_its_name(data):
    pool = [f"g{i}" for i in range(8)]
    lists = data.draw(
        st.lists(st.lists(st.sampled_from(pool), unique=True, min_size=1), min_size=1)
    )
    lists = [["shared", *genes] for genes in lists]
    join = data.draw(st.sampled_from(["inner", "outer"]))
    files = [f"f{i}" for i in range(len(lists))]
    arrays = [np.array(genes, object) for genes in lists]
    joined = join_genes(files, arrays, join)
    every = list(dict.fromkeys(name for genes in lists for name in genes))
    want = every
    if join == "inner":
        want = [name for name in lists[0] if all(name in genes for genes in lists)]
    assert joined.names.tolist() == want
    chosen = data.draw(st.lists(st.sampled_from(want), unique=True, min_size=1))
    selected = join_genes(files, arrays, join, chosen)
    for result, names in ((joined, want), (selected, chosen)):
        assert result.names.tolist() == names
        for genes, table, report in zip(
            lists, result.column_maps, result.report, strict=True
        ):
            columns = range(len(genes)) if table is None else table
            for name, column in zip(genes, columns, strict=True):
                assert column == (names.index(name) if name in names else -1)
            assert report.n_lost == len(set(genes) - set(names))
            assert report.n_added == len(set(names) - set(genes))


def test_exact_names_the_first_differences(tmp_path):
    paths = write(tmp_path, frames([["a", "b", "c"], ["a", "x", "c", "d"]]))
    match = (
        r"0\.h5ad and .*1\.h5ad have 3 and 4 genes; only in the first: b; only in the"
        r' second: x, d; gene 1 is "b" in one and "x" in the other; join="inner"'
    )
    with pytest.raises(scd.GeneMismatchError, match=match):
        scd.open(paths)


def test_exact_says_that_only_the_order_differs(tmp_path):
    paths = write(tmp_path, frames([["a", "b"], ["b", "a"]]))
    with pytest.raises(ValueError, match="the same genes in another order"):
        scd.open(paths)


def test_inner_without_a_shared_gene(tmp_path):
    paths = write(tmp_path, frames([["a", "b"], ["c"]]))
    with pytest.raises(
        ValueError, match=r"share no gene; .*begins with a, b and .*with c"
    ):
        scd.open(paths, join="inner")


def test_what_is_lost_and_added_is_reported(tmp_path):
    source = scd.open(write(tmp_path, frames(LISTS)), join="inner")
    lost = [(r.n_stored, r.n_lost, r.lost, r.n_added) for r in source.genes_report]
    assert lost == [
        (4, 2, ("a", "c"), 0),
        (3, 1, ("e",), 0),
        (5, 3, ("c", "e", "f"), 0),
    ]
    assert "0.h5ad: 4 genes, 2 left out (a, c)" in repr(source)
    source = scd.open(write(tmp_path, frames(LISTS)), join="outer")
    assert [r.n_added for r in source.genes_report] == [2, 3, 1]
    assert "1.h5ad: 3 genes, 3 added as 0 (a, c, f)" in repr(source)


def test_names_may_repeat_where_none_is_looked_up(tmp_path):
    tables = frames([["a", "a", "b"], ["a", "a", "b"]])
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        paths = write(tmp_path, tables)
    source = scd.open(paths, genes=[1, 2])
    want = np.concatenate([table.to_numpy() for table in tables])[:, [1, 2]]
    np.testing.assert_array_equal(dense(source.read(np.arange(18))["X"]), want)
    source = scd.open(paths, genes=["b"])
    np.testing.assert_array_equal(dense(source.read(np.arange(18))["X"]), want[:, 1:])
    with pytest.raises(
        ValueError, match="gene names are not unique, which genes needs; twice: a;"
    ):
        scd.open(paths, genes=["b", "a"])
    other = write(tmp_path, frames([["b"]]))
    (tmp_path / "0.h5ad").rename(tmp_path / "other.h5ad")
    assert other
    with pytest.raises(
        ValueError, match='not unique, which join="outer" needs; twice: a'
    ):
        scd.open([tmp_path / "other.h5ad", paths[1]], join="outer")


@pytest.mark.parametrize(
    ("genes", "error", "match"),
    [
        pytest.param([], ValueError, "at least one", id="none"),
        pytest.param(
            "a", TypeError, "a list of names or positions, got 'a'", id="text"
        ),
        pytest.param([0.5], ValueError, "got float64", id="fractions"),
        pytest.param([True, False], ValueError, "got bool", id="mask"),
        pytest.param([-1], IndexError, "position -1", id="negative"),
        pytest.param(
            ["zz"], ValueError, 'first is "zz"; there are: a, b', id="unknown"
        ),
        pytest.param([1, 1], ValueError, "got twice: 1", id="twice"),
    ],
)
def test_wrong_genes_are_refused(genes, error, match, tmp_path):
    paths = write(tmp_path, frames([["a", "b"]]))
    with pytest.raises(error, match=match):
        scd.open(paths, genes=genes)


def test_longest_row_is_at_most_the_genes_kept(tmp_path):
    paths = write(tmp_path, frames([list("abcdefgh")], n=50))
    assert scd.open(paths, genes=["a", "b"]).longest_row() == 2
    assert scd.open(paths).longest_row() > 2


@pytest.mark.parametrize("output", ["dense", "csr", "padded"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("kinds", [("f4", "f4"), ("f4", "f8"), ("i2", "f4")])
def test_dense_files_that_hold_none_of_the_genes(tmp_path, kinds, compression, output):
    paths = []
    for name, kind, value in zip("ab", kinds, (1, 2), strict=True):
        adata = ad.AnnData(np.full((5, 2), value, kind))
        adata.var_names = [f"{name}1", f"{name}2"]
        paths.append(tmp_path / f"{name}.h5ad")
        adata.write_h5ad(paths[-1], compression=compression)
    source = scd.open(paths, join="outer", genes=["b2"])
    loader = scd.Loader(source, scd.BlockShuffling(2), batch_size=10, output=output)
    (batch,) = loader
    x = batch["X"]
    got = x["values"][:, 0] if output == "padded" else x
    got = got.toarray() if output == "csr" else got
    want = np.where(batch["index"] < 5, 0, 2)
    np.testing.assert_array_equal(np.ravel(got), want)
