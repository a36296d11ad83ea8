"""What sources over SCDL folders must do, and the folders kept here."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.sources.contract import SourceContract
from tests.sources.small_cells import LINES

# Written by bionemo-scdl 0.1.3 from the contract's parts: `collection` by
# SingleCellCollection.load_h5ad; `flat` by its flatten(); `ragged` so too, with two
# genes and one obs column less in the second part, and the genes of the third reversed;
# `outgrown` (parts 2 and 0) and `joined` (1 and 2) by concat() of loaded folders, which
# leaves the first one's header behind.
WRITTEN = Path(__file__).with_name("bionemo-scdl-0.1.3.zip")


def extract(folder):
    """Unpack the folders kept here, and return where they are."""
    with zipfile.ZipFile(WRITTEN) as archive:
        archive.extractall(folder)
    return folder


class ScdlContract(SourceContract):
    """What differs: text has no order of its own, and names of cells are not kept."""

    def test_a_list_of_labels_keeps_its_order(self, source):
        assert source.categories == {"line": sorted(LINES)}

    def test_saved_vocabulary_encodes_alike(self, data):
        with pytest.warns(UserWarning, match="1 labels are not in the saved"):
            source = self.open(
                data, obs=["line"], categories={"line": ["HCT15", "new", "A549"]}
            )
        plain = self.open(data, obs=["line"])
        want = np.array([2, 0, -1])[plain.obs["line"]]  # of A549, HCT15, MCF7
        np.testing.assert_array_equal(source.obs["line"], want)

    def test_names_of_cells_are_carried_when_asked_for(self, data, whole):
        with pytest.raises(ValueError, match="keeps the columns of obs and drops its"):
            self.open(data, obs_names=True)
