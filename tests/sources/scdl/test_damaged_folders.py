"""SCDL folders that are damaged, and what is said of them."""

import shutil

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import N_CELLS, make_parts

pytest.importorskip("pyarrow")
from tests.sources.scdl.scdl_writer import (  # needs pyarrow
    header_bytes,
    write_folder,
    write_index,
)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "cells", make_parts()[0])


def cut(name, n_bytes):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-n_bytes])

    return damage


def without(name):
    return lambda folder: (folder / name).unlink()


def with_header(arrays=(), leave_out="", **changes):
    def damage(folder):
        n, nnz = N_CELLS[0], (folder / "col_ptr.npy").stat().st_size
        described = {
            "DATA": (nnz, "float32"),
            "ROWPTR": (n + 1, "uint8"),
            "COLPTR": (nnz, "uint8"),
        }
        described.update(arrays)
        described.pop(leave_out, None)
        (folder / "header.sch").write_bytes(header_bytes(described, n, **changes))

    return damage


def with_bytes(name, text):
    return lambda folder: (folder / name).write_bytes(text)


DAMAGED = {
    "data_cut": (cut("data.npy", 4), "data.npy: it holds .* header.sch says"),
    "data_cut_inside": (cut("data.npy", 3), "no whole number of float32"),
    "columns_cut": (cut("col_ptr.npy", 1), "col_ptr.npy: it holds .* header.sch says"),
    "pointers_cut": (cut("row_ptr.npy", 1), "row_ptr.npy: it holds 37 .* says 38"),
    "data_missing": (without("data.npy"), "data.npy is missing"),
    "metadata_missing": (without("metadata.json"), "there is no metadata.json"),
    "metadata_no_json": (with_bytes("metadata.json", b"{"), "expected a JSON object"),
    "metadata_deep": (
        with_bytes("metadata.json", b"[" * 100_000),
        "expected a JSON object",
    ),
    "metadata_a_list": (with_bytes("metadata.json", b"[]"), "expected a JSON object"),
    "metadata_no_count": (
        with_bytes("metadata.json", b'{"num_rows": -1}'),
        "num_rows must be a count, got -1",
    ),
    "metadata_too_many": (
        with_bytes("metadata.json", b'{"num_rows": 38}'),
        "metadata.json should have 38 rows or elements, and there are 37",
    ),
    "header_cut": (cut("header.sch", 30), "in the middle of what it describes"),
    "header_longer": (
        lambda folder: with_bytes(
            "header.sch", (folder / "header.sch").read_bytes() + b"more"
        )(folder),
        "goes on behind its end",
    ),
    "header_magic": (with_bytes("header.sch", b"HDF5" * 9), "begins with b'HDF5'"),
    "header_version": (with_header(version=(1, 0, 0)), "of version 1.0.0, and 0.x"),
    "header_order": (with_header(order=0), "byte order 0 and storage 1"),
    "header_storage": (with_header(storage=2), "byte order 1 and storage 2"),
    "header_array_missing": (
        with_header(leave_out="COLPTR"),
        "does not describe COLPTR",
    ),
    "header_type_unknown": (
        with_header(arrays={"DATA": (10, "int8")}),
        r"DATA is of type 99, expected one of 1 \(uint8\)",
    ),
    "header_type_of_columns": (
        with_header(arrays={"COLPTR": (10, "float32")}),
        "col_ptr.npy is float32, expected unsigned integers",
    ),
    "header_type_of_data": (
        with_header(arrays={"DATA": (10, "uint16")}),
        "data.npy has .* elements and col_ptr.npy",
    ),
    "header_type_of_pointers": (
        with_header(arrays={"ROWPTR": (10, "uint16")}),
        r"row_ptr.npy \(uint16\) goes from",
    ),
    "sums_lie": (
        lambda folder: np.save(
            folder / "var_features/cumulative_sum_index.npy", [-1, 36]
        ),
        "row_ptr.npy has 37 rows and .*var_features features of 36",
    ),
    "sums_fall": (
        lambda folder: np.save(
            folder / "var_features/cumulative_sum_index.npy", [-1, 37, 30]
        ),
        "expected -1 and then numbers of rows that grow",
    ),
    "sums_no_numbers": (
        lambda folder: np.save(
            folder / "var_features/cumulative_sum_index.npy", ["a", "b"]
        ),
        "expected a list of integers",
    ),
    "sums_cut": (
        with_bytes("var_features/cumulative_sum_index.npy", b"\x93NUM"),
        "cumulative_sum_index.npy: it cannot be read",
    ),
    "genes_missing": (
        lambda folder: shutil.rmtree(folder / "var_features"),
        "there is no var_features, which names the genes",
    ),
    "genes_of_a_block_missing": (
        without("var_features/dataframe_0.parquet"),
        "dataframe_0.parquet is missing, one of 1 tables",
    ),
    "genes_cut": (
        cut("var_features/dataframe_0.parquet", 9),
        "dataframe_0.parquet: it cannot be read as Parquet",
    ),
    "obs_cut": (
        cut("obs_features/dataframe_0.parquet", 9),
        "dataframe_0.parquet: it cannot be read as Parquet",
    ),
    "obs_shorter": (
        lambda folder: write_index(folder / "obs_features", [{"line": ["a"]}], [37]),
        "it has 1 rows, and its block 37 cells",
    ),
    "obs_of_fewer_cells": (
        lambda folder: write_index(folder / "obs_features", [{"line": ["a"]}], [1]),
        "obs of 37 cells is asked for, and the folder holds those of 1",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_folders_are_refused_at_open(folder, name):
    damage, match = DAMAGED[name]
    damage(folder)
    with pytest.raises(ValueError, match=match):
        scd.open(folder, obs=["line"])


def test_pointers_that_fall_are_found_when_read(folder):
    pointers = np.fromfile(folder / "row_ptr.npy", np.uint8)
    pointers[5] = 0
    (folder / "row_ptr.npy").write_bytes(pointers.tobytes())
    with pytest.raises(OSError, match=r"row_ptr.npy is wrong: row 4 starts at"):
        scd.open(folder).read([5])


def test_column_outside_the_genes_is_found_when_read(folder):
    columns = np.fromfile(folder / "col_ptr.npy", np.uint8)
    columns[0] = 200
    (folder / "col_ptr.npy").write_bytes(columns.tobytes())
    with pytest.raises(OSError, match="has column 200 in row 0, and there are 11"):
        scd.open(folder).read([0, 3])


def test_folder_that_changed_since_is_refused(folder):
    source = scd.open(folder)
    cut("data.npy", 4)(folder)
    with pytest.raises(OSError, match=r"data.npy changed since it was opened"):
        source.read([0])
