"""Split: counts, the check for shared groups, and files."""

import pickle
import zipfile

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from scdataset_core.splits import Split

N = 600


def make_source(seed=0, **options):
    rng = np.random.default_rng(seed)
    line = rng.choice(["A549", "MCF7"], N).astype(object)
    line[rng.random(N) < 0.1] = None
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(rng.choice(["D1", "D2", "D3", "D4", "D5"], N)),
            "line": pd.Categorical(line),
            "batch": rng.integers(0, 3, N),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    X = rng.integers(1, 5, (N, 4)).astype(np.float32)
    return scd.open(ad.AnnData(X, obs=obs), obs=["donor", "line", "batch"], **options)


SOURCE = make_source()
LABELS = {name: SOURCE.decode(name, SOURCE.obs[name]) for name in ("donor", "line")}
THREE = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_a_split_is_a_mapping_of_row_sets():
    parts = scd.split(SOURCE, THREE)
    assert list(parts) == ["train", "val", "test"]
    assert len(parts) == 3
    assert dict(parts)["val"] is parts["val"]
    assert "val" in parts
    assert parts.get("holdout") is None
    with pytest.raises(scd.MissingNameError, match=r'no part .*mean "train"'):
        parts["trian"]
    assert repr(parts).splitlines() == [
        "Split of 600 of 600 cells:",
        "  train  480  80.00%",
        "  val     60  10.00%",
        "  test    60  10.00%",
    ]


def test_the_table_counts_cells_by_part():
    parts = scd.split(SOURCE, THREE, seed=2)
    table = parts.table()
    assert table == {"train": 480, "val": 60, "test": 60}
    assert str(table).split() == ["train", "val", "test", "cells", "480", "60", "60"]


def test_the_table_counts_labels_where_the_split_is_stratified():
    parts = scd.split(SOURCE, THREE, stratify="line", seed=2)
    for part, counts in parts.table().items():
        labels = LABELS["line"][parts[part].to_numpy()]
        assert counts == {
            label: sum(labels == label) for label in ("A549", "MCF7", None)
        }
    assert "(missing)" in str(parts.table())
    assert parts.table("donor")["val"]["D2"] == sum(
        LABELS["donor"][parts["val"].to_numpy()] == "D2"
    )
    both = parts.table(["line", "batch"])["train"]
    rows = parts["train"].to_numpy()
    first = (LABELS["line"][rows] == "MCF7") & (SOURCE.obs["batch"][rows] == 1)
    assert both["MCF7", 1] == first.sum()
    assert sum(both.values()) == len(rows)


def test_check_names_the_groups_that_parts_share():
    parts = scd.split(SOURCE, {"train": None, "test": {"donor": ["D2"]}})
    parts.check(by="donor")
    parts.check(by=["donor", "line"])
    with pytest.raises(ValueError, match=r"share 3 of 3 groups: line A549 \(in"):
        parts.check(by="line")
    with pytest.raises(ValueError, match="line missing"):
        parts.check(by="line")
    with pytest.raises(scd.MissingNameError, match='mean "donor"'):
        parts.check(by="donr")
    with pytest.raises(ValueError, match="needs the obs column"):
        parts.check()
    scd.split(SOURCE, {"a": 0.5, "b": 0.5}, by="donor").check()


def test_parts_that_share_rows_are_refused():
    rows = scd.RowSet.of(N, [1, 2, 5])
    with pytest.raises(ValueError, match=r'"a" and "c" share 1 cells.* row 5'):
        Split(SOURCE, {"a": rows, "b": rows - rows, "c": scd.RowSet.of(N, [5])})


def test_splits_pickle():
    parts = scd.split(SOURCE, THREE, by="donor")
    again = pickle.loads(pickle.dumps(parts))
    assert dict(again) == dict(parts)
    again.check()


@pytest.mark.parametrize(
    "options",
    [
        {"stratify": "line"},
        {"by": ["donor"]},
        {"within": np.arange(0, N, 3)},
        {"block_size": 16},
    ],
)
def test_a_saved_split_is_loaded_for_the_same_data(options, tmp_path):
    parts = scd.split(SOURCE, THREE, seed=5, **options)
    parts.save(tmp_path / "split.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["split.npz"]
    again = scd.load_split(str(tmp_path / "split.npz"), make_source())
    assert dict(again) == dict(parts)
    assert list(again) == list(parts)
    assert (again.by, again.stratify) == (parts.by, parts.stratify)
    assert again.table() == parts.table()
    parts.save(tmp_path / "split.npz")  # again


def test_another_choice_of_columns_and_genes_is_the_same_data(plates, tmp_path):
    paths = str(plates / "*.h5ad")
    parts = scd.split(scd.open(paths), {"train": 0.9, "test": 0.1})
    parts.save(tmp_path / "split")
    some = scd.open(paths, obs=["drug"], genes=["gene5", "gene2"])
    again = scd.load_split(tmp_path / "split", some)
    assert again["test"] == parts["test"]
    again.save(tmp_path / "split")
    assert scd.load_split(tmp_path / "split", scd.open(paths))["test"] == parts["test"]
    for other in (plates / "plate1.h5ad", sorted(plates.glob("*.h5ad"))[::-1]):
        with pytest.raises(ValueError, match="split of another data set"):
            scd.load_split(tmp_path / "split", scd.open(other))


def test_other_layers_and_copies_of_the_cells_are_the_same_data(plates, tmp_path):
    path = plates / "plate1.h5ad"
    scd.split(scd.open(path), THREE).save(tmp_path / "split")
    adata = ad.read_h5ad(path)
    adata.layers["doubled"] = adata.X * 2
    for same in (
        scd.open(path, x="layers/counts"),
        scd.open(path, x=["X", "obsm/X_pca"]),
        scd.open(adata, x="layers/doubled"),
        scd.concat([scd.open(adata[:100]), scd.open(adata[100:])]),
    ):
        assert len(scd.load_split(tmp_path / "split", same)["test"]) == 40
    for other in (
        scd.open(adata[::-1].copy()),
        scd.open(path, x="obsm/X_pca"),
        scd.open(adata[:, ::-1].copy()),
        scd.open(plates / "plate2.h5ad"),
    ):
        with pytest.raises(ValueError, match="another data set"):
            scd.load_split(tmp_path / "split", other)


def test_another_data_set_is_refused(tmp_path):
    scd.split(SOURCE, THREE).save(tmp_path / "split")
    for other in (
        scd.open(ad.AnnData(np.ones((N, 4), np.float32))),
        scd.open(ad.AnnData(np.ones((N, 5), np.float32))),
        scd.open(ad.AnnData(np.ones((N - 1, 4), np.float32))),
        np.ones((N, 4), np.float32),
    ):
        with pytest.raises(ValueError, match="another data set: of 600 cells x 4"):
            scd.load_split(tmp_path / "split", other)


def test_raw_objects_are_split_saved_and_loaded(tmp_path):
    x = np.arange(50)
    parts = scd.split(x, {"a": 0.5, "b": 0.5})
    parts.save(tmp_path / "split")
    assert scd.load_split(tmp_path / "split", x)["a"] == parts["a"]


def rewrite(path, **changes):
    """Write a file of a split again with other entries."""
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    entries |= changes
    np.savez(path, **{name: x for name, x in entries.items() if x is not None})


def flip(path, after, offset, value):
    """Set a byte of the first member of a split, packed or not, past a mark."""
    with np.load(path) as file:
        entries = dict(file)
    np.savez(path, **entries)
    data = bytearray(path.read_bytes())
    data[data.index(after) + offset] = value
    path.write_bytes(data)


def test_files_that_are_no_splits_are_refused(tmp_path):
    path = tmp_path / "split.npz"
    parts = scd.split(SOURCE, THREE)
    words = parts["val"].words.copy()
    parts.save(path)
    with np.load(path) as file:
        facts = file["facts"]
    for damage in (
        lambda: path.write_bytes(b"no zip file"),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(path.read_bytes()[:500]),
        lambda: np.savez(path, facts=np.zeros(3, np.uint8)),
        lambda: np.savez(path, other=np.zeros(3)),
        lambda: rewrite(path, within=np.zeros(3, np.uint64)),
        lambda: rewrite(path, within=words),
        lambda: rewrite(path, part1=words.astype(np.int64)),
        lambda: rewrite(path, part1=parts["test"].words),
        lambda: rewrite(path, part2=None),
        lambda: rewrite(path, facts=facts[:-1]),
        lambda: rewrite(path, facts=np.frombuffer(b"[" * 100_000, np.uint8)),
        lambda: rewrite(path, facts=np.array([b"x"], object)),
        lambda: flip(path, b"PK\x01\x02", 8, 1),  # a member that is encrypted
        lambda: flip(path, b"PK\x01\x02", 10, 99),  # packed in an unknown way
        lambda: flip(path, b"'descr'", 0, ord("(")),  # a header that is no Python
    ):
        parts.save(path)
        damage()
        with pytest.raises(scd.FileFormatError, match="is no split, or is damaged"):
            scd.load_split(path, SOURCE)
    path.write_text("notes, not a split")
    with pytest.raises(scd.FileFormatError, match=r"not of the kind that split\.save"):
        scd.load_split(path, SOURCE)
    parts.save(path)
    with np.load(path) as file:
        text = bytes(file["facts"]).replace(b'"version": 1', b'"version": 2')
    rewrite(path, facts=np.frombuffer(text, np.uint8))
    with pytest.raises(scd.FileFormatError, match=r"has version 2.*reads version 1"):
        scd.load_split(path, SOURCE)
    lacking = text.replace(b'"version": 2, ', b"")
    rewrite(path, facts=np.frombuffer(lacking, np.uint8))
    with pytest.raises(scd.FileFormatError, match="has version None"):
        scd.load_split(path, SOURCE)
    with pytest.raises(FileNotFoundError, match="none"):
        scd.load_split(tmp_path / "none.npz", SOURCE)


def test_files_are_small(tmp_path):
    n = 200_000
    x = np.zeros((n, 1), np.int8)
    scd.split(x, THREE, block_size=64).save(tmp_path / "blocks")
    assert (tmp_path / "blocks").stat().st_size < n / 64
    scd.split(x, THREE).save(tmp_path / "cells")
    assert (tmp_path / "cells").stat().st_size < n / 6
    assert zipfile.is_zipfile(tmp_path / "cells")
