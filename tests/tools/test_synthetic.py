"""Synthetic plates: what is in the files, and that it can be learned."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import screen
from scdataset_core.tools.linear import SoftmaxRegression, normalise
from scdataset_core.tools.synthetic import make_plates, plate_paths

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")


def make_small(folder, **options):
    small = {"n_plates": 1, "n_cells": 20, "n_genes": 100, "stored_per_cell": 10}
    return make_plates(folder, **{**small, **options})[0]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return make_plates(
        tmp_path_factory.mktemp("plates"),
        n_plates=3,
        n_cells=1_000,
        n_genes=6_000,
        stored_per_cell=1_200,
        seed=5,
    )


@pytest.fixture(scope="module")
def plates(paths):
    return [anndata.read_h5ad(path) for path in paths]


def test_files_are_named_by_plate(paths):
    assert [path.name for path in paths] == [f"plate{i}.h5ad" for i in (1, 2, 3)]
    assert sorted(paths[0].parent.iterdir()) == paths


def test_numbers_of_ten_plates_sort_as_strings():
    names = [path.name for path in plate_paths("plates", 10)]
    assert names[0] == "plate01.h5ad"
    assert names == sorted(names)


def test_x_holds_sparse_counts(plates):
    for plate in plates:
        X = plate.X
        assert plate.shape == X.shape == (1_000, 6_000)
        assert X.format == "csr"
        assert (X.dtype, X.indices.dtype, X.indptr.dtype) == ("f4", "i4", "i4")
        assert X.has_canonical_format
        assert (X.data >= 1).all()
        assert (X.data == np.rint(X.data)).all()
        assert X.nnz / 1_000 == pytest.approx(1_200, rel=0.05)
        assert len(np.unique(np.diff(X.indptr))) > 50


def test_obs_has_labels_and_total_counts(plates):
    labels = ["plate", "sample", "cell_line", "drug"]
    for number, plate in enumerate(plates, 1):
        assert list(plate.obs) == [*labels, "total_counts"]
        assert (plate.obs[labels].dtypes == "category").all()
        assert plate.obs["plate"].unique().tolist() == [f"plate{number}"]
        assert plate.obs["cell_line"].nunique() == 24
        assert plate.obs["drug"].nunique() == 16
        assert "DMSO" in plate.obs["drug"].cat.categories
        assert plate.obs["sample"].nunique() > 300
        assert plate.obs_names.is_unique
        totals = np.asarray(plate.X.sum(axis=1)).ravel()
        assert np.array_equal(plate.obs["total_counts"], totals)


def test_genes_have_symbols_and_those_that_tell_labels_are_marked(plates):
    var = plates[0].var
    assert var.index[:4].tolist() == ["gene0", "gene1", "gene2", "gene3"]
    assert var["symbol"].is_unique
    assert 1_000 < var["highly_variable"].sum() < 3_000
    for plate in plates[1:]:
        assert plate.var.equals(var)


def test_plates_differ_in_their_profiles(plates):
    one, two = (np.asarray(plate.X.mean(axis=0)).ravel() for plate in plates[:2])
    strong = (one > 0.5) & (two > 0.5)
    assert np.std(np.log(one[strong] / two[strong])) == pytest.approx(0.42, abs=0.05)


def test_counts_and_raw_are_x_under_other_names(paths, plates):
    with h5py.File(paths[0]) as file:
        assert file["layers/counts/data"] == file["raw/X/data"] == file["X/data"]
    assert (plates[0].layers["counts"] != plates[0].X).nnz == 0
    assert (plates[0].raw.X != plates[0].X).nnz == 0
    assert plates[0].raw.var.equals(plates[0].var)


def test_x_pca_tells_lines_apart(plates):
    cells = anndata.concat(plates)
    lines = cells.obs["cell_line"].astype("category").cat.codes.to_numpy()
    assert cells.obsm["X_pca"].shape == (3_000, 10)
    assert cells.obsm["X_pca"].dtype == np.float32
    means = np.stack([cells.obsm["X_pca"][lines == line].mean(0) for line in range(24)])
    away = ((cells.obsm["X_pca"][:, None] - means) ** 2).sum(axis=2)
    assert (away.argmin(axis=1) == lines).mean() > 0.9


@pytest.mark.parametrize("x", ["X", "layers/counts", "raw/X", "obsm/X_pca"])
def test_every_array_opens(paths, x):
    source = scd.open(paths, x=x, obs=True)
    assert source.shape == (3_000, 10 if x == "obsm/X_pca" else 6_000)
    batch = next(iter(scd.Loader(source, batch_size=8)))
    assert (batch["obs"]["total_counts"] > 0).all()


def test_cells_lie_by_sample_and_mostly_by_line(plates):
    for plate in plates:
        samples = plate.obs["sample"]
        wells = samples.to_numpy().astype(str)
        changes = np.count_nonzero(wells[1:] != wells[:-1])
        assert changes == samples.nunique() - 1
        lines = plate.obs["cell_line"].cat.codes.to_numpy()
        assert (lines[1:] == lines[:-1]).mean() > 0.5
        drugs_of_sample = plate.obs.groupby("sample", observed=True)["drug"].nunique()
        assert (drugs_of_sample == 1).all()


def test_line_and_drug_can_be_learned(plates):
    cells = anndata.concat(plates)
    X = normalise(cells.X, counts=True)
    rng = np.random.default_rng(0)
    for label, least in (("cell_line", 0.8), ("drug", 0.8)):
        codes = cells.obs[label].astype("category").cat.codes.to_numpy()
        model = SoftmaxRegression(X.shape[1], codes.max() + 1)
        order = rng.permutation(len(codes))
        held_out, train = order[:300], order[300:]
        for _ in range(6):
            for batch in np.array_split(rng.permutation(train), 45):
                model.fit_batch(X[batch], codes[batch])
        assert (model.predict(X[held_out]) == codes[held_out]).mean() > least


def test_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    one, again, other = (
        anndata.read_h5ad(make_small(tmp_path / name, n_cells=50, seed=seed))
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert (one.X != again.X).nnz == 0
    assert one.obs.equals(again.obs)
    assert (one.X != other.X).nnz > 0


def test_plate_written_in_pieces_has_every_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(screen, "PIECE_COUNTS", 70 * 40)
    written: list[int] = []
    [path] = make_plates(
        tmp_path,
        n_plates=1,
        n_cells=250,
        n_genes=300,
        stored_per_cell=40,
        progress=written.append,
    )
    assert written == [70, 70, 70, 40]
    plate = anndata.read_h5ad(path)
    assert plate.X.shape == (250, 300)
    assert (np.diff(plate.X.indptr) > 0).all()


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_compression_is_that_of_the_arrays(tmp_path, compression):
    path = make_small(tmp_path, compression=compression)
    with h5py.File(path) as file:
        assert file["X/data"].compression == compression
        assert file["X/indices"].compression == compression


def test_chunks_are_those_of_a_plate_written_at_once(tmp_path, paths, plates):
    plates[0].write_h5ad(tmp_path / "at_once.h5ad")
    with h5py.File(tmp_path / "at_once.h5ad") as once, h5py.File(paths[0]) as pieces:
        at_once, in_pieces = once["X/data"].chunks[0], pieces["X/data"].chunks[0]
    assert in_pieces == pytest.approx(at_once, rel=0.1)


def test_existing_plates_are_not_overwritten(tmp_path):
    path = make_small(tmp_path, n_cells=10)
    with pytest.raises(FileExistsError, match=r"would be overwritten.*overwrite=True"):
        make_small(tmp_path, n_cells=20, n_plates=2)
    assert anndata.read_h5ad(path).n_obs == 10
    assert list(tmp_path.iterdir()) == [path]


def test_existing_plates_are_replaced_or_kept_on_demand(tmp_path):
    told: list[int] = []
    path = make_small(tmp_path, n_cells=10)
    make_small(tmp_path, n_cells=20, existing="replace")
    assert anndata.read_h5ad(path).n_obs == 20
    make_small(tmp_path, n_cells=30, n_plates=2, existing="keep", progress=told.append)
    assert anndata.read_h5ad(path).n_obs == 20
    assert anndata.read_h5ad(tmp_path / "plate2.h5ad").n_obs == 30
    assert told == [30, 30]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"n_plates": 0}, "n_plates must be from 1 to 99, got 0", id="none"
        ),
        pytest.param({"n_plates": 100}, "n_plates must be from 1 to 99", id="plates"),
        pytest.param({"n_cells": 0}, "n_cells must be at least 1, got 0", id="cells"),
        pytest.param({"n_genes": 3}, "n_genes must be at least 4, got 3", id="genes"),
        pytest.param(
            {"stored_per_cell": 26}, "a quarter of the 100 genes, got 26", id="stored"
        ),
        pytest.param(
            {"existing": "ask"}, "existing must be .+, got .ask.", id="exists"
        ),
    ],
)
def test_refuses_numbers_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_small(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []
