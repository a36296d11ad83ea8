"""What may be imported where: light start-up, one direction, no cycles."""

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import scdataset_core

CORE = Path(scdataset_core.__file__).parent
ADAPTERS = {
    "scdataset_torch": {"torch", "torchdata", "lightning", "accelerate", "scvi"},
    "scdataset_grain": {"grain", "jax", "jaxlib"},
    "scdataset_generators": set(),
    "scdataset_ray": {"ray"},
}
FRAMEWORKS = {
    "torch",
    "torchdata",
    "lightning",
    "grain",
    "jax",
    "jaxlib",
    "flax",
    "ray",
}

# The families of formats, each a folder of `sources`: a family imports itself and the
# rooms that all share. An AnnData may be backed by a file, hence the one exception.
FAMILIES = {"anndata_files", "anndata_objects", "tables", "soma", "scdl"}
FAMILIES_MAY_IMPORT = {"anndata_objects": {"anndata_files"}}

# What opening a file may import of its family.
ANNDATA_LAYOUT = {
    "anndata_files.cell_files",
    "anndata_files.data_frames",
    "anndata_files.file_tree",
    "anndata_files.frames",
    "anndata_files.matrices",
    "anndata_files.record_arrays",
    "anndata_files.reopened_file",
}
OF_FORMATS = {
    "h5ad": ANNDATA_LAYOUT | {"anndata_files.h5ad", "anndata_files.hdf5_tree"},
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
        "tables.row_groups",
        "tables.row_reader",
        "tables.table_source",
        "tables.triples",
        "tables.x_columns",
    },
}
# Of every family, what recognises its formats is imported.
RECOGNISERS = {f"{family}.formats" for family in FAMILIES} | {"scdl.signatures"}
# Users make an index, so it is imported with the package, without what reads files.
INDEX = {"anndata_files.index", "anndata_files.index_files"}

# The rooms of the core: a subpackage stands for all of its modules.
BASIS = {
    "amounts",
    "notebook_html",
    "progress_line",
    "errors",
    "checks",
    "optional",
    "thread_ending",
    "bits",
    "row_sets",
    "labels",
    "cell_labels",
    "label_weights",
    "weights_by_class",
    "hook_epoch",
}
SAMPLING = {  # integers only
    "permutation",
    "order_checks",
    "orders",
    "weighted",
    "listed_rows",
    "strata",
    "sets",
    "controls",
    "grouped_cells",
    "set_orders",
    "weighted_sets",
    "weighted_rows",
    "group_sampling",
    "weighted_sampling",
    "running_sum",
    "strategies",
    "strategies_03",
    "strategy_orders",
    "buckets",
    "sizes",
    "position",
    "ranges",
    "shares",
    "dealing",
    "plan",
    "state",
    "state_checks",
}
DEALING = {
    "sizes",
    "ranges",
    "shares",
    "dealing",
    "plan",
    "position",
    "state",
    "state_checks",
}
CELLS = {
    "info",
    "anndata_maker",
    "cells",
    "form",
    "outputs",
    "multiindexable",
    "sources",
    "storage",
}
LOADING = {
    "readahead",
    "hooks",
    "pending_batches",
    "batching",
    "fetch_memory",
    "iteration",
    "batch_lookup",
    "epochs",
    "thread_count",
    "candidates",
    "suggestion",
    "loader",
}
TOOLS = {"tools", "cli", "adapters"}  # above the loader
MAY_IMPORT_ONLY = {
    **dict.fromkeys(BASIS, BASIS),
    **dict.fromkeys(SAMPLING - DEALING, BASIS | SAMPLING - DEALING),
    **dict.fromkeys(DEALING, BASIS | SAMPLING),
    "permutation": BASIS,
    "transforms": BASIS | {"permutation", "cells"},
    "storage": BASIS,
}
MUST_NOT_IMPORT = {
    **dict.fromkeys(CELLS, TOOLS | LOADING | SAMPLING | {"sources", "storage"}),
    "sources": TOOLS | LOADING | SAMPLING,
    **dict.fromkeys(LOADING, TOOLS),
    **dict.fromkeys(LOADING - {"loader"}, TOOLS | {"loader"}),
    "tools": {"cli"},
}


def package_root(package: str) -> Path | None:
    """Return a package's folder without importing it, or None where it is absent."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def modules(root: Path) -> dict[str, Path]:
    def name(path: Path) -> str:
        parts = path.relative_to(root.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    return {name(path): path for path in sorted(root.rglob("*.py"))}


@cache
def imported_names(module: str, path: Path) -> tuple[str, ...]:
    """Return every module or name imported anywhere in a file, type-only ones too."""
    return tuple(iterate_imports(module, path))


def iterate_imports(module: str, path: Path) -> Iterator[str]:
    package = module.split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = package[: len(package) - node.level + 1] if node.level else []
            base = [*stem, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def nearest(name: str, known: set[str]) -> str | None:
    """Return the known module that `name` is, or is a member of."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name if name in known else None


def import_graph(root: Path) -> dict[str, set[str]]:
    files = modules(root)
    known = set(files)
    return {
        module: {
            target
            for name in imported_names(module, path)
            if (target := nearest(name, known)) is not None and target != module
        }
        for module, path in files.items()
    }


def room(module: str) -> str:
    """Return the first name below the package, or the package's own."""
    return ([*module.split(".")[1:], module])[0]


def family(module: str) -> str | None:
    """Return the family a module is of, or None."""
    names = module.split(".")[1:3]
    return names[1] if names[:1] == ["sources"] and len(names) > 1 else None


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


@pytest.mark.parametrize("package", ["scdataset_core", *ADAPTERS])
def test_no_import_cycle_even_for_typing(package: str) -> None:
    root = package_root(package)
    assert root is not None
    TopologicalSorter(import_graph(root)).prepare()  # CycleError names the modules


def test_core_rooms_import_one_way() -> None:
    wrong = []
    for module, targets in import_graph(CORE).items():
        here = room(module)
        for there in {room(target) for target in targets} - {here}:
            allowed = MAY_IMPORT_ONLY.get(here)
            if there in MUST_NOT_IMPORT.get(here, set()) or (
                allowed is not None and there not in allowed
            ):
                wrong.append(f"{module} imports {there}")
    assert wrong == []


def test_a_format_family_imports_itself_and_shared_rooms_only() -> None:
    wrong = []
    for module, targets in import_graph(CORE).items():
        here = family(module)
        allowed = FAMILIES_MAY_IMPORT.get(here or "", set()) | {here}
        if (
            module == "scdataset_core.sources.formats"
        ):  # the list of what all families declare
            targets = {target for target in targets if not target.endswith(".formats")}
        wrong += [
            f"{module} imports {target}"
            for target in targets
            if family(target) in FAMILIES - allowed
            and target.removeprefix("scdataset_core.sources.") not in INDEX
        ]
    assert wrong == []


def test_no_module_of_the_core_is_imported_by_string() -> None:
    by_string = {
        module: {name for name in imported_names(module, path) if "importlib" in name}
        for module, path in modules(CORE).items()
    }
    # Of the installed package, its version; of other packages, whole modules. A forked
    # process loads the extension module of obstore from another place.
    assert {module: names for module, names in by_string.items() if names} == {
        "scdataset_core.storage.remote.obstore_library": {
            "importlib.machinery.ExtensionFileLoader",
            "importlib.machinery.ModuleSpec",
            "importlib.util",
        },
        "scdataset_core.optional": {"importlib.import_module"},
        "scdataset_core.tools.commands": {"importlib.metadata.version"},
        "scdataset_core.tools.machine": {
            "importlib.metadata.PackageNotFoundError",
            "importlib.metadata.version",
        },
        "scdataset_core.tools.rivals": {
            "importlib.metadata.version",
            "importlib.util.find_spec",
        },
    }
    texts = {m: path.read_text("utf-8") for m, path in modules(CORE).items()}
    assert [module for module, text in texts.items() if "__import__" in text] == []


def test_core_modules_do_not_import_the_package_itself() -> None:
    graph = import_graph(CORE)
    allowed = {"scdataset_core", "scdataset_core.cli"}
    wrong = [m for m, targets in graph.items() if "scdataset_core" in targets]
    assert set(wrong) <= allowed


def test_core_imports_no_framework_and_no_adapter() -> None:
    banned = FRAMEWORKS | set(ADAPTERS)
    wrong = [
        f"{module}: {name}"
        for module, path in modules(CORE).items()
        for name in imported_names(module, path)
        if name.partition(".")[0] in banned
    ]
    assert wrong == []


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_imports_its_own_framework_only(adapter: str) -> None:
    root = package_root(adapter)
    assert root is not None
    banned = (FRAMEWORKS | set(ADAPTERS)) - ADAPTERS[adapter] - {adapter}
    wrong = [
        f"{module}: {name}"
        for module, path in modules(root).items()
        for name in imported_names(module, path)
        if name.partition(".")[0] in banned
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("adapter", "framework"),
    [
        ("scdataset_torch", "torch"),
        ("scdataset_grain", "grain"),
        ("scdataset_grain", "jax"),
        ("scdataset_ray", "ray"),
        ("scdataset_ray", "pyarrow"),
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
