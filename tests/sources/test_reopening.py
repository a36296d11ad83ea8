"""Columns that a source was not opened with are read when asked for."""

import os
import pickle
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd


def expected_rows(paths: list[Path], drug: str) -> list[int]:
    labels = np.concatenate([ad.read_h5ad(path).obs["drug"] for path in paths])
    return list(np.flatnonzero(labels == drug))


@pytest.fixture
def copies(plates: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(plates / f"plate{i}.h5ad", tmp_path)) for i in (1, 2)]


def test_paths_hold_in_another_folder_and_process(copies, monkeypatch):
    monkeypatch.chdir(copies[0].parent)
    source = scd.open("plate*.h5ad", obs=["cell_line"], genes=["gene3", "gene1"])
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(source))
    for one in (source, again):
        assert list(one.where(drug="DMSO")) == expected_rows(copies, "DMSO")
        both = one.where(drug="DMSO", cell_line="A549")
        assert both == one.where(drug="DMSO") & one.where(cell_line="A549")


def test_several_arrays_and_joined_sources_find_columns(copies):
    expected = expected_rows([copies[0], copies[1], copies[0]], "DMSO")
    several = scd.open(copies, x=["obsm/X_pca", "layers/counts"])
    assert list(several.where(drug="DMSO")) == expected_rows(copies, "DMSO")
    first = scd.open(copies)
    first.where(plate="plate1", drug="DMSO")  # so that it keeps more columns open
    second = scd.open(ad.read_h5ad(copies[0]))
    joined = scd.concat([first, second])
    assert list(joined.where(drug="DMSO")) == expected
    assert list(scd.concat([several, several]).where(drug="DMSO")) == (
        expected_rows(copies * 2, "DMSO")
    )
    mixed, _ = scd.mix([first, second], [1, 1])
    assert list(mixed.where(drug="DMSO")) == expected
    side = scd.open(scd.MultiIndexable(rna=first, counts=scd.open(copies)))
    assert list(side.where(drug="DMSO")) == expected_rows(copies, "DMSO")


def test_a_changed_file_is_an_error(copies):
    source = scd.open(copies)
    status = copies[0].stat()
    os.utime(copies[0], ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(scd.FileChangedError, match=r"plate1\.h5ad changed"):
        source.where(drug="DMSO")


def test_a_changed_object_is_an_error(copies):
    adata = ad.read_h5ad(copies[0])
    source = scd.open(adata)
    adata._inplace_subset_obs(np.arange(10))
    with pytest.raises(scd.FileChangedError, match=r"had 400 cells.*now has 10"):
        source.where(drug="DMSO")


def test_a_pickled_source_over_an_object_says_how_to_get_columns(copies):
    source = scd.open(ad.read_h5ad(copies[0]), obs=["drug"])
    again = pickle.loads(pickle.dumps(source))
    assert again.where(drug="DMSO") == source.where(drug="DMSO")
    with pytest.raises(scd.MissingNameError, match=r'add it to open\(.*"plate"'):
        again.where(plate="plate1")


def test_columns_that_cannot_be_carried_say_why():
    adata = ad.AnnData(
        np.eye(3, dtype=np.float32),
        obs=pd.DataFrame(
            {"when": pd.to_datetime(["2020", "2021", "2022"])}, list("abc")
        ),
    )
    with pytest.raises(ValueError, match='"when" cannot be carried'):
        scd.open(adata).where(when="2020")
    with pytest.raises(ValueError, match="an array has no obs"):
        scd.open(np.eye(3)).where(drug="DMSO")


def test_batches_still_carry_only_what_was_asked_for(copies):
    source = scd.open(copies, obs=["cell_line"])
    rows = source.where(drug="DMSO")
    batch = next(iter(scd.Loader(source, scd.Streaming(rows), batch_size=8)))
    assert list(batch["obs"]) == ["cell_line"]
    assert list(batch["index"]) == list(rows[:8])
    assert source.obs_columns == ("cell_line",)
