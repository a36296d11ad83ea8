"""SCDL folders as bionemo-scdl writes them, with its own reader as the oracle."""

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.scdl.scdl_contract import ScdlContract, extract
from tests.sources.small_cells import spoken

pytest.importorskip("bionemo.scdl", reason="pip install bionemo-scdl")
from bionemo.scdl.io.single_cell_collection import (
    SingleCellCollection,
)
from bionemo.scdl.io.single_cell_memmap_dataset import (
    SingleCellMemMapDataset,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return extract(tmp_path_factory.mktemp("written"))


class TestFlattened(ScdlContract):
    @classmethod
    def write(cls, folder, parts):
        collection = SingleCellCollection(str(folder / "collection"))
        for i, part in enumerate(parts):
            part.write_h5ad(folder / f"{i}.h5ad")
            collection.load_h5ad(str(folder / f"{i}.h5ad"), use_X_not_raw=True)
        collection.flatten(str(folder / "flat"))
        return folder / "flat"


@pytest.mark.parametrize("name", ["collection/1", "flat", "ragged", "outgrown"])
# What the package says of headers and versions is its own.
@pytest.mark.filterwarnings("ignore")
def test_rows_are_those_the_package_reads(written, name):
    theirs = SingleCellMemMapDataset(str(written / name))
    source = scd.open(written / name, join="outer", obs=["line", "number"])
    cells = source.read(np.arange(len(source)))
    genes = {gene: place for place, gene in enumerate(source.var_names)}
    lines = spoken(source, cells, "line")
    assert len(source) == theirs.number_of_rows()
    for row in range(len(source)):
        (values, columns), names, obs = theirs.get_row(
            row,
            return_var_features=True,
            return_obs_features=True,
            obs_feature_names=["line", "number"],
        )
        want = np.zeros(len(genes), np.float32)
        want[[genes[gene] for gene in names[0][columns]]] = values
        np.testing.assert_array_equal(cells["X"][[row]].toarray()[0], want)
        assert obs == [lines[row], cells["obs"]["number"][row]]
