"""The lines that `repr` of a source gives; they fit 80 columns."""

import textwrap
from collections.abc import Iterable, Sequence

from .base import Source

__all__ = ["describe_files", "list_names", "shorten_path", "show_source"]

_WIDTH = 77  # two less than 79: those of several sources are indented
_MOST_NAMES = 12
_MOST_PATH = 36


def show_source(
    source: Source, where: str, lines: Iterable[str] = (), *, size: str | None = None
) -> str:
    """Return the lines that say what a source is.

    Parameters
    ----------
    source
        The source.
    where
        What comes after its size: ``"in memory"``.
    lines
        What is special about it, each one line or, if it is long, several.
    size
        Its size in words; cells x genes by default.
    """
    n_obs, n_vars = source.shape
    size = f"{n_obs:,} cells x {n_vars:,} genes" if size is None else size
    head = f"Source of {size} {where}".rstrip()
    labels = [_describe_column(source, name) for name in source.obs_columns]
    body = [*lines, f"obs: {list_names(labels)}", *_describe_contents(source)]
    return "\n".join([_wrap(head), *(_wrap(f"  {line}") for line in body)])


def describe_files(files: Sequence[str]) -> str:
    """Return where files are, in a few words."""
    first = shorten_path(files[0])
    return f"in {first}" if len(files) == 1 else f"in {len(files)} files ({first}, ...)"


def list_names(names: Sequence[str]) -> str:
    """Return names, the first few of many."""
    rest = len(names) - _MOST_NAMES
    more = f" and {rest} more" if rest > 0 else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + more


def _describe_column(source: Source, name: str) -> str:
    """Return the name of a carried column and what it holds."""
    try:
        missing = source.count_missing(name)
        dtype = "" if name in source.categories else str(source.obs_dtype(name))
    except Exception:  # repr must not fail, whatever became of the files
        return name
    n_labels = len(source.categories.get(name, ()))
    what = dtype or (f"{n_labels:,} label" if n_labels == 1 else f"{n_labels:,} labels")
    if missing is not None:
        what += f", {missing:,} missing" if missing else ", none missing"
    return f"{name} ({what})"


def _describe_contents(source: Source) -> list[str]:
    """Return what else there is: columns that are not carried, and other matrices."""
    try:
        found = source.contents
    except Exception:  # as above
        return []
    if found is None:
        return []
    own = list(source.parts) or [found.x]
    more = " in the first file" if len(source.files) > 1 else ""
    return [
        f"{what}: {list_names(names)}"
        for what, names in {
            "obs not carried": [n for n in found.obs if n not in source.obs_columns],
            "var": found.var,
            f"x= can also be{more}": [n for n in found.matrices if n not in own],
        }.items()
        if names
    ]


def _wrap(line: str) -> str:
    return textwrap.fill(
        line,
        _WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def shorten_path(path: str) -> str:
    """Return a path, or the end of a long one."""
    if len(path) <= _MOST_PATH:
        return path
    return f"...{path[-_MOST_PATH + 3 :]}"
