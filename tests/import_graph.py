"""What each module of a package imports, without importing it."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import scdataset_core

CORE = Path(scdataset_core.__file__).parent

ADAPTERS = {
    "scdataset_torch": {"torch", "torchdata", "lightning", "accelerate", "scvi"},
    "scdataset_grain": {"grain", "jax", "jaxlib"},
    "scdataset_generators": set(),
    "scdataset_ray": {"ray"},
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


# The families of formats, each a folder of `sources`: a family imports itself and the
# rooms that all share. An AnnData may be backed by a file, hence the one exception.
FAMILIES = {"anndata_files", "anndata_objects", "tables", "soma", "scdl"}

# Users make an index, so it is imported with the package, without what reads files.
INDEX = {"anndata_files.index", "anndata_files.index_files"}
