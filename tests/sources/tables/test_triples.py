"""Tables of (cell, gene, value) triples, with those of cells and of genes."""

import numpy as np
import pytest

import scdataset_core as scd

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write_triples(path, cells, genes=None, **options):
    genes = np.zeros(len(cells), np.int32) if genes is None else genes
    table = {"cell": cells, "gene": genes, "value": np.arange(len(cells)) + 1.0}
    pq.write_table(pa.table(table), path, **options)
    return path


def test_triples_alone_with_empty_cells_and_cells_in_many_groups(tmp_path):
    cells = [1] * 7 + [2] + [5] * 5
    genes = [0, 1, 2, 3, 4, 5, 6, 0, 2, 1, 6, 3, 4]
    path = write_triples(tmp_path / "x.parquet", cells, genes, row_group_size=3)
    source = scd.open(path, vocabulary=list("abcdefg"))
    want = np.zeros((6, 7))
    want[cells, genes] = np.arange(13) + 1
    assert source.shape == (6, 7)
    assert source.longest_row() == 7
    rows = np.array([0, 1, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(source.read(rows)["X"].toarray(), want[rows])
    np.testing.assert_array_equal(source.read([0, 3])["X"].toarray(), want[[0, 3]])
    np.testing.assert_array_equal(source.block_starts, [0, 2])  # 5 begins where 2 does


def test_triples_must_be_sorted_by_cell(tmp_path):
    path = write_triples(tmp_path / "a.parquet", [0, 1, 3, 2], row_group_size=2)
    source = scd.open(path, vocabulary=["a"])
    with pytest.raises(OSError, match="row group 1 of cell is not sorted"):
        source.read([2])
    path = write_triples(tmp_path / "b.parquet", [0, 3, 1, 2], row_group_size=2)
    with pytest.raises(ValueError, match="row group 0 ends with cell 3 and the next"):
        scd.open(path, vocabulary=["a"])


def test_triples_of_more_cells_than_there_are(tmp_path):
    write_triples(tmp_path / "expression.parquet", [0, 1, 7])
    pq.write_table(pa.table({"line": ["a", "b"]}), tmp_path / "cells.parquet")
    with pytest.raises(ValueError, match="has cells 0 to 7, and there are 2 cells"):
        scd.open(tmp_path, vocabulary=["a"])


def write_folder(folder, cells, **columns):
    """Write three cells, of a triple each, with tables of cells and of genes."""
    names = ("cell_integer_id", "gene_integer_id", "value")
    triples = dict(zip(names, ([0, 1, 2], [0, 1, 0], [1.0, 2.0, 3.0]), strict=True))
    pq.write_table(pa.table(triples), folder / "expression.parquet")
    pq.write_table(pa.table(cells), folder / "cells.parquet", row_group_size=2)
    genes = {"gene_id": ["a", "b"], "gene_integer_id": [0, 1], **columns}
    pq.write_table(pa.table(genes), folder / "genes.parquet")
    return folder


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ([0, 2, 1], "row 1 has the cell_integer_id 2, expected"),
        ([7, 8, 9], "row 0 has the cell_integer_id 7, expected"),
        ([0, 1, None], "row 2 has the cell_integer_id nan, expected"),
    ],
    ids=["in_another_order", "from_another_number", "null"],
)
def test_cells_that_do_not_stand_at_their_numbers(tmp_path, numbers, match):
    """Their labels would be those of other cells."""
    cells = {"cell_integer_id": numbers, "line": ["x", "y", "z"]}
    with pytest.raises(scd.FileFormatError, match=f"cells.parquet: {match}"):
        scd.open(write_folder(tmp_path, cells), obs=["line"])


def test_cells_that_stand_at_their_numbers(tmp_path):
    cells = {"cell_integer_id": [0, 1, 2], "line": ["x", "y", "z"]}
    source = scd.open(write_folder(tmp_path, cells), obs=["line"])
    assert source.read([2])["obs"]["line"].tolist() == [2]
    cells["cell_integer_id"] = ["AAC", "CCA", "GGA"]  # what else it may hold
    assert scd.open(write_folder(tmp_path, cells)).shape == (3, 2)


def test_genes_of_one_number(tmp_path):
    folder = write_folder(tmp_path, {"line": ["x", "y", "z"]}, gene_integer_id=[1, 1])
    with pytest.raises(scd.FileFormatError, match="2 genes have the gene_integer_id 1"):
        scd.open(folder)


def test_triples_of_files_without_rows(tmp_path):
    none, some = np.empty(0, np.int64), [0, 0, 2]
    for number, cells in enumerate([none, some, none, [2, 3]]):
        write_triples(tmp_path / f"{number}.parquet", np.array(cells, np.int64))
    source = scd.open(tmp_path / "*.parquet", vocabulary=["a"])
    assert source.shape == (4, 1)
    assert source.longest_row() == 2
    assert source.read([2, 3])["X"].toarray().tolist() == [[4.0], [2.0]]


@pytest.mark.parametrize("write_statistics", [False, True])
def test_triples_with_nulls_for_cells(tmp_path, write_statistics):
    cells = pa.array([0, 0, None, None, 1], pa.int64())
    path = write_triples(
        tmp_path / "x.parquet",
        cells,
        row_group_size=2,
        write_statistics=write_statistics,
    )
    with pytest.raises(
        scd.CorruptFileError, match=r"x\.parquet: row group 1 of cell holds 2 nulls"
    ):
        scd.open(path, vocabulary=["a"])


def test_triples_of_cells_beyond_all_numbers(tmp_path):
    path = write_triples(tmp_path / "x.parquet", np.array([0, 2**63], np.uint64))
    with pytest.raises(scd.FileFormatError, match=f"cell goes up to {2**63}, expected"):
        scd.open(path, vocabulary=["a"])


def test_triples_without_names_of_genes_are_refused(tmp_path):
    path = write_triples(tmp_path / "a.parquet", [0, 1])
    with pytest.raises(ValueError, match="holds genes by number, in its column gene"):
        scd.open(path)


def test_a_gene_outside_the_vocabulary_is_named(tmp_path):
    path = write_triples(tmp_path / "a.parquet", [0, 1, 2], [0, 1, 9])
    with pytest.raises(OSError, match="cell 2 has gene id 9, which is not among the 2"):
        scd.open(path, vocabulary=["a", "b"]).read([0, 2])
