"""Sources of different kinds, one after the other."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.storage import ReadContext
from tests.sources.contract import SourceContract
from tests.sources.small_cells import make_parts


class TestConcat(SourceContract):
    """A file, an object in memory, and another file."""

    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        parts[0].write_h5ad(folder / "part0.h5ad")
        parts[2].write_h5ad(folder / "part2.h5ad")
        return [folder / "part0.h5ad", parts[1], folder / "part2.h5ad"]

    @classmethod
    def open(cls, data, **options):
        return scd.concat([scd.open(part, **options) for part in data])

    # Each part is opened, and warns, by itself.
    def test_saved_vocabulary_encodes_alike(self, data):
        with pytest.warns(UserWarning, match="1 labels are not in the saved"):
            source = self.open(
                data, obs=["line"], categories={"line": ["HCT15", "new", "A549"]}
            )
        plain = self.open(data, obs=["line"])
        want = np.array([-1, 2, 0])[plain.obs["line"]]
        np.testing.assert_array_equal(source.obs["line"], want)
        assert source.categories == {"line": ["HCT15", "new", "A549"]}


class TestConcatDense(TestConcat):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        parts = [part.copy() for part in parts]
        for part in parts:
            part.X = part.X.toarray()
        return super().write(folder, parts)


class TestConcatMixed(TestConcat):
    """Sparse rows after dense ones are sparse."""

    knows_lengths = False

    @classmethod
    def write(cls, folder, parts):
        first = parts[0].copy()
        first.X = first.X.toarray()
        return super().write(folder, [first, *parts[1:]])

    def test_longest_row_and_mean(self, source, whole):
        stored = np.diff(whole.X.indptr)
        stored[:37] = whole.n_vars
        assert source.longest_row() == whole.n_vars
        assert source.mean_stored == pytest.approx(stored.mean())


@pytest.mark.parametrize("join", ["inner", "outer"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    ("output", "dtype"),
    [("csr", None), ("dense", None), ("dense", np.float16), ("padded", np.float64)],
)
def test_genes_are_joined_as_in_files(tmp_path, join, dense, output, dtype):
    parts = make_parts()
    parts[1] = parts[1][:, ::-1].copy()
    parts[2] = parts[2][:, 2:].copy()
    for i, part in enumerate(parts):
        if dense:
            part.X = part.X.toarray()
        part.write_h5ad(tmp_path / f"part{i}.h5ad")
    want = scd.open(str(tmp_path / "*.h5ad"), join=join)
    opened = [scd.open(part) for part in parts]
    got = scd.concat(opened, join=join)
    assert got.var_names.tolist() == want.var_names.tolist()
    assert [str(g).partition(":")[2] for g in got.genes_report] == [
        str(g).partition(":")[2] for g in want.genes_report
    ]
    rows = np.sort(np.random.default_rng(0).integers(0, 100, 50))
    places = np.random.default_rng(1).permutation(50)
    bounds = np.array([0, 7, 7, 30, 50])
    form = want.form_of(output, dtype=dtype)
    with ReadContext(1) as context:
        a = want.read_batches(rows, places, bounds, form, context)
        b = got.read_batches(rows, places, bounds, form, context)
    for x, y in zip(a, b, strict=True):
        if output != "padded":
            assert type(x["X"]) is type(y["X"])
            np.testing.assert_array_equal(*map(as_dense, (x["X"], y["X"])))
            continue
        assert x["X"]["values"].shape == y["X"]["values"].shape
        for key in ("values", "length"):
            np.testing.assert_array_equal(
                np.sort(x["X"][key], axis=-1), np.sort(y["X"][key], axis=-1)
            )


def as_dense(x):
    return x.toarray() if sp.issparse(x) else x


def test_genes_must_agree():
    parts = make_parts()
    sources = [scd.open(parts[0]), scd.open(parts[1][:, 1:].copy())]
    with pytest.raises(scd.GeneMismatchError, match=r'source 0 and source 1.*"inner"'):
        scd.concat(sources)


def test_labels_get_one_vocabulary():
    parts = make_parts()
    parts[1].obs["line"] = parts[1].obs["line"].cat.rename_categories({"A549": "Aa"})
    parts[1].obs["number"] = parts[1].obs["number"].astype(np.float32)
    parts[1].obs["passed"] = pd.array([None] + [True] * 49, dtype="boolean")
    columns = ["line", "number", "passed"]
    source = scd.concat([scd.open(part, obs=columns) for part in parts])
    assert source.categories == {"line": ["A549", "Aa", "HCT15", "MCF7"]}
    spoken = [source.categories["line"][code] for code in source.obs["line"]]
    assert spoken == [x for part in parts for x in part.obs["line"]]
    assert source.obs["number"].dtype == np.float64
    assert np.flatnonzero(np.isnan(source.obs["passed"])).tolist() == [37]


def test_ordered_labels_must_agree():
    parts = make_parts()[:2]
    for part, order in zip(parts, (["a", "b"], ["b", "a"]), strict=True):
        values = ["a"] * part.n_obs
        part.obs["stage"] = pd.Categorical(values, order, ordered=True)
    sources = [scd.open(part, obs=["stage"]) for part in parts]
    with pytest.raises(ValueError, match='"stage" is ordered'):
        scd.concat(sources)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(lambda obs: obs.drop(columns="line"), "same obs=", id="missing"),
        pytest.param(
            lambda obs: obs.assign(line=1), "labels in source 0 and numbers", id="kind"
        ),
    ],
)
def test_columns_must_agree(change, match):
    a, b = make_parts()[:2]
    b.obs = change(b.obs)
    columns = ["line"] if "line" in b.obs else []
    opened = [scd.open(a, obs=["line"]), scd.open(b, obs=columns)]
    with pytest.raises(ValueError, match=match):
        scd.concat(opened)


def test_several_arrays_are_joined_by_name():
    parts = make_parts()
    for part in parts:
        part.obsm["pca"] = part.X.toarray()[:, :2]
    names = ["X", "obsm/pca"]
    source = scd.concat([scd.open(part, x=names, obs=["number"]) for part in parts])
    cells = source.read([0, 36, 37, 99], [2, 0, 3, 1])
    assert cells["index"].tolist() == [36, 99, 0, 37]
    assert cells["obs"]["number"].tolist() == [36, 99, 0, 37]
    np.testing.assert_array_equal(cells["X"]["obsm/pca"][:, 0], [37, 100, 1, 38])
    np.testing.assert_array_equal(cells["X"]["X"].toarray()[:, 0], [37, 100, 1, 38])
    with pytest.raises(ValueError, match=r"of source 1 one array.*same arrays by name"):
        scd.concat([scd.open(parts[0], x=names), scd.open(parts[1])])


@pytest.mark.parametrize(
    ("sources", "error", "match"),
    [
        pytest.param([], ValueError, "at least one source", id="none"),
        pytest.param([np.ones((2, 2))], TypeError, "number 0 is a ndarray", id="array"),
    ],
)
def test_what_is_no_source_is_refused(sources, error, match):
    with pytest.raises(error, match=match):
        scd.concat(sources)


def test_unknown_join_is_refused():
    with pytest.raises(ValueError, match='join must be "exact"'):
        scd.concat([scd.open(np.ones((2, 2)))], join="left")
