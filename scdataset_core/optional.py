"""Imports of packages that an extra installs, with errors that name the extra."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .checks import install_command

__all__ = ["import_optional", "naming_extra"]

# The oldest versions that have what is used of them, as the extras state them.
_LEAST = {
    "datasets": (2, 19),
    "pyarrow": (15, 0),
    "tiledbsoma": (1, 15),
    "zarr": (3, 1),
}


def import_optional(*modules: str, extra: str, needed_by: str) -> Any:  # Any: a module
    """Import modules of optional packages, and return the first.

    Parameters
    ----------
    modules
        Their full names.
    extra
        The extra that installs them.
    needed_by
        What needs them, in the plural, for errors: ``"Parquet files"``.

    Raises
    ------
    ModuleNotFoundError
        If a package is not installed. If one that it needs is not, that error is
        raised as it is.
    ImportError
        If a package is older than what is used of it.
    """
    packages = list(dict.fromkeys(module.partition(".")[0] for module in modules))
    with naming_extra(*packages, extra=extra, needed_by=needed_by):
        found = [import_module(module) for module in modules]
    _check_versions(packages, extra, needed_by)
    return found[0]


@contextmanager
def naming_extra(*packages: str, extra: str, needed_by: str) -> Iterator[None]:
    """Name the extra to install if an import inside the block finds no package.

    For modules that import a package at their top, by ordinary import statements.

    Parameters
    ----------
    packages
        Names of the packages that the extra installs.
    extra
        The extra that installs them.
    needed_by
        What needs them, in the plural, for errors: ``"Parquet files"``.

    Raises
    ------
    ModuleNotFoundError
        If one of the packages is not installed. If another one is missing, its own
        error is raised as it is.

    Examples
    --------
    >>> with naming_extra("json", extra="parquet", needed_by="Parquet files"):
    ...     import json
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in packages:
            raise
        raise ModuleNotFoundError(
            f"{needed_by} need {missing}: {install_command(extra)}", name=missing
        ) from error


def _check_versions(packages: Sequence[str], extra: str, needed_by: str) -> None:
    for package in packages:
        least = _LEAST.get(package)
        if least is None:
            continue
        version = import_module(package).__version__
        numbers = [int(n) for n in version.split(".")[:2] if n.isdigit()]
        if tuple(numbers) < least:
            raise ImportError(
                f"{needed_by} need {package} {'.'.join(map(str, least))} or later, and"
                f" {version} is installed: {install_command(extra)}"
            )
