"""What is loaded at an import, and when a file is opened: in processes of their own."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.import_graph import CORE, FAMILIES, INDEX, package_root

# What opening a file may import of its family.
ANNDATA_LAYOUT = {
    "anndata_files.cell_files",
    "anndata_files.cell_names",
    "anndata_files.data_frames",
    "anndata_files.file_tree",
    "anndata_files.frames",
    "anndata_files.matrices",
    "anndata_files.record_arrays",
    "anndata_files.reopened_file",
}

OF_FORMATS = {
    "h5ad": ANNDATA_LAYOUT
    | {
        "anndata_files.h5ad",
        "anndata_files.hdf5_tree",
        "anndata_files.parsed_tree",
    },
    "zarr": ANNDATA_LAYOUT
    | {
        "anndata_files.zarr_completeness",
        "anndata_files.zarr_sources",
        "anndata_files.zarr_tree",
    },
    "parquet": {
        "tables.files",
        "tables.list_columns",
        "tables.mapped_lists",
        "tables.obs_columns",
        "tables.parquet",
        "tables.parquet_footers",
        "tables.row_groups",
        "tables.row_reader",
        "tables.table_source",
        "tables.triples",
        "tables.x_columns",
    },
}

# Of every family, what recognises its formats is imported.
RECOGNISERS = {f"{family}.formats" for family in FAMILIES} | {"scdl.signatures"}


def test_core_import_loads_numpy_and_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import numpy; "
        "numpy_brought = set(sys.modules); import scdataset_core; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - numpy_brought}; "
        "print(sorted(new - sys.stdlib_module_names - {'scdataset_core', 'numpy'}))"
    )
    path = f"import sys; sys.path.insert(0, {str(CORE.parent)!r}); "
    out = subprocess.run(
        [sys.executable, "-c", path + code], check=True, capture_output=True, text=True
    )
    assert out.stdout.strip() == "[]"


def test_core_import_loads_neither_tools_nor_metrics() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(CORE.parent)!r}); "
        "import scdataset_core; "
        "print({m.split('.')[1] for m in sys.modules if 'scdataset_core.' in m}"
        " & {'tools', 'metrics', 'cli'})"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert out.stdout.strip() == "set()"


def test_core_import_starts_no_threads_and_sets_no_warning_filters() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(CORE.parent)!r}); "
        "import numpy, threading, warnings; before = list(warnings.filters); "
        "import scdataset_core; "
        "print(threading.active_count(), warnings.filters == before)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == ["1", "True"]


def write_cells(name: str, plates: Path, folder: Path) -> Path:
    """Return a file or store of a format."""
    if name == "h5ad":
        return plates / "plate1.h5ad"
    path = folder / f"cells.{name}"
    if name == "zarr":
        pytest.importorskip("zarr")
        anndata = pytest.importorskip("anndata")
        adata = anndata.read_h5ad(plates / "plate1.h5ad")
        with warnings.catch_warnings(action="ignore"):  # of what AnnData will write
            adata.write_zarr(path)
        return path
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    columns = {
        "genes": [[0, 2], [1]] * 50,
        "expressions": [[1.0, 2.0], [3.0]] * 50,
        "drug": ["DMSO", "Afatinib"] * 50,
    }
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("name", OF_FORMATS)
def test_opening_a_format_imports_no_other(
    name: str, plates: Path, tmp_path: Path
) -> None:
    data = str(write_cells(name, plates, tmp_path))
    options = {"vocabulary": ["A", "B", "C"]} if name == "parquet" else {}
    code = (
        f"import sys; sys.path.insert(0, {str(CORE.parent)!r})\n"
        "import scdataset_core as scd\n"
        f"source = scd.open({data!r}, obs=['drug'], **{options!r})\n"
        "batch = next(iter(scd.Loader(source, scd.BlockShuffling(16), batch_size=8)))\n"
        "print(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    start = "scdataset_core.sources."
    loaded = {
        module.removeprefix(start)
        for module in out.stdout.split()
        if module.startswith(start) and module.split(".")[2] in FAMILIES
    }
    assert loaded - RECOGNISERS - INDEX - FAMILIES == OF_FORMATS[name]
    start = "scdataset_core.storage.formats."
    storage = {m.removeprefix(start) for m in out.stdout.split() if m.startswith(start)}
    others = {"hdf5", "zarr"} - {"hdf5" if name == "h5ad" else name}
    assert [m for m in storage if m.startswith(tuple(others))] == []


@pytest.mark.parametrize(
    ("adapter", "framework"),
    [
        ("scdataset_torch", "torch"),
        ("scdataset_grain", "grain"),
        pytest.param("scdataset_grain", "jax", marks=pytest.mark.slow),
        ("scdataset_ray", "ray"),
        pytest.param("scdataset_ray", "pyarrow", marks=pytest.mark.slow),
    ],
)
def test_adapter_without_its_framework_names_the_extra(
    adapter: str, framework: str
) -> None:
    root = package_root(adapter)
    assert root is not None
    code = (
        f"import sys; sys.path[:0] = [{str(root.parent)!r}, {str(CORE.parent)!r}]\n"
        f"sys.modules[{framework!r}] = None\n"
        f"import {adapter}"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    extra = adapter.removeprefix("scdataset_")
    assert out.returncode == 1
    assert "ModuleNotFoundError" in out.stderr
    assert f"pip install 'scdataset-core[{extra}]'" in out.stderr
