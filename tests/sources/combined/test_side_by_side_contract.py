"""The contract of sources, for arrays side by side that hold the same."""

import warnings
from contextlib import contextmanager

import anndata as ad
import pytest

import scdataset_core as scd
from tests.sources.contract import SourceContract
from tests.sources.small_cells import make_loader


@contextmanager
def quiet():
    """Keep still about AnnData's use of pandas, and about what MuData will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def joined(parts):
    with quiet():
        return ad.concat(parts)


def of_modalities(adata):
    """Return the cells twice, the second time in another order."""
    mudata = pytest.importorskip("mudata")
    with quiet():
        both = mudata.MuData({"rna": adata, "protein": adata[::-1].copy()})
        both.obs = adata.obs.copy()
    return both


class ArraysContract(SourceContract):
    """What differs: values that are stored are counted over all arrays."""

    knows_lengths = False
    n_arrays = 2

    def test_longest_row_and_mean(self, source, whole):
        stored = whole.X.nnz / len(source)
        assert source.longest_row() == whole.X.getnnz(axis=1).max()
        assert source.mean_stored == pytest.approx(self.n_arrays * stored)

    def test_repr_says_what_it_is(self, source):
        text = repr(source)
        assert f"100 cells with {self.n_arrays} arrays" in text
        assert "11 columns, sparse float32" in text
        assert "line" in text


class TestSeveralArrays(ArraysContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            full = part.copy()
            full.layers["same"] = full.X.copy()
            full.write_h5ad(folder / f"part{i}.h5ad")
        return str(folder / "*.h5ad")

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, x=["X", "layers/same"], **options)


class ModalitiesContract(ArraysContract):
    """What differs: genes are chosen in each modality, when that is opened."""

    def refuses_genes(self, data, genes=("gene7", "gene0")):
        with pytest.raises(ValueError, match="genes goes with one matrix"):
            self.open(data, genes=list(genes))

    @pytest.mark.parametrize("genes", [["gene7", "gene0", "gene2"]])
    def test_genes_come_alone_and_in_the_order_wanted(self, data, genes):
        self.refuses_genes(data, genes)

    def test_unknown_gene_names_the_nearest(self, data):
        self.refuses_genes(data, ["gene77"])

    def test_position_outside_is_refused(self, data):
        self.refuses_genes(data, [3, 11])

    def test_a_state_of_other_data_is_refused(self, source, data):
        state = make_loader(source.parts["rna"]).state_dict()
        with pytest.raises(scd.StateError, match="another data set"):
            make_loader(source).load_state_dict(state)


class TestMultiIndexable(ModalitiesContract):
    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            part.write_h5ad(folder / f"part{i}.h5ad")
        return folder, parts

    @classmethod
    def open(cls, data, **options):
        folder, parts = data
        objects = {"rna": joined(parts), "protein": scd.open(f"{folder}/*.h5ad")}
        return scd.open(scd.MultiIndexable(**objects), **options)


class TestH5mu(ModalitiesContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            with quiet():
                of_modalities(part).write_h5mu(folder / f"part{i}.h5mu")
        return str(folder / "*.h5mu")


class TestMuData(ModalitiesContract):
    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        return of_modalities(joined(parts))
