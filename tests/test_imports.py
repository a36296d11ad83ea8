"""What may be imported where: light start-up, one direction, no cycles."""

from graphlib import TopologicalSorter

import pytest

from tests.import_graph import (
    ADAPTERS,
    CORE,
    FAMILIES,
    INDEX,
    import_graph,
    imported_names,
    modules,
    package_root,
)

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

FAMILIES_MAY_IMPORT = {"anndata_objects": {"anndata_files"}}

# The rooms of the core: a subpackage stands for all of its modules.
BASIS = {
    "amounts",
    "kept_property",
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
    "batching_options",
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


def room(module: str) -> str:
    """Return the first name below the package, or the package's own."""
    return ([*module.split(".")[1:], module])[0]


def family(module: str) -> str | None:
    """Return the family a module is of, or None."""
    names = module.split(".")[1:3]
    return names[1] if names[:1] == ["sources"] and len(names) > 1 else None


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
