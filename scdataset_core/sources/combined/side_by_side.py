"""Several arrays of the same cells side by side: one batch carries them all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, MissingNameError, nearest
from ...form import Form, OutputName, Overflow, Width
from ...multiindexable import MultiIndexable
from ...storage import StoredArray
from ..base import Source
from ..contents import Contents
from ..fingerprints import fingerprint
from ..obs.obs_readers import ObsReader, SourceObs, SourceWithObs
from ..options import OpenOptions
from ..read_request import ReadRequest
from ..rows import Rows
from ..summaries import describe_files, show_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SideBySideSource", "open_arrays", "open_several"]

# The matrices whose columns are genes; genes= selects among these.
_OF_GENES = ("X", "raw/X", "layers/")
_MOST_NAMES = 1 << 16  # names compared; more would make a large source slow to open


class SideBySideSource(SourceWithObs):
    """Several sources of the same cells, row by row.

    ``batch["X"]`` is a dict with an entry for each. Shape, gene names, storage chunks
    and files are those of the first; `parts` has the others'.

    Made by :func:`scdataset_core.open`.

    Parameters
    ----------
    parts
        The sources by name, at least one, of the same length.
    obs
        Reads the obs of the cells; that of the first source by default.

    Attributes
    ----------
    parts : dict of str to Source
        The sources by name: ``source.parts["protein"].var_names``.
    """

    def __init__(
        self, parts: Mapping[str, Source], obs: ObsReader | None = None
    ) -> None:
        self.parts = dict(parts)
        first_name, first = next(iter(self.parts.items()))
        for name, part in self.parts.items():
            if len(part) != len(first):
                raise FileFormatError(
                    f'"{first_name}" has {len(first)} cells and "{name}" {len(part)};'
                    " arrays side by side are of the same cells"
                )
            if isinstance(part, SideBySideSource):
                raise FileFormatError(
                    f'"{name}" is several arrays itself; give each of them by name'
                )
        self.files = tuple(
            dict.fromkeys(file for part in self.parts.values() for file in part.files)
        )
        self.file_starts = first.file_starts
        caches = [part.cache for part in self.parts.values()]
        self.cache = next(filter(None, caches), None)
        self.sparse = first.sparse
        self.dtype = first.dtype
        self.natural_block = first.natural_block
        self.genes_report = first.genes_report
        self._set_obs(
            SourceObs(first) if obs is None else obs,
            first.var_names,
            [notice for part in self.parts.values() for notice in part.notices],
            parts={name: part.var_names for name, part in self.parts.items()},
        )

    @property
    def concurrent(self) -> bool:  # type: ignore[override]
        """Whether two threads may read at a time, and gain by it."""
        return all(part.concurrent for part in self.parts.values())

    def x_arrays(self) -> list[StoredArray]:
        """Return the arrays that hold X, where ranges of them are read from files."""
        return [array for source in self.parts.values() for array in source.x_arrays()]

    def __repr__(self) -> str:
        arrays = [
            f"{name}: {part.shape[1]:,} columns,"
            f" {'sparse' if part.sparse else 'dense'} {part.dtype}"
            for name, part in self.parts.items()
        ]
        size = f"{len(self):,} cells with {len(self.parts)} arrays"
        files = describe_files(self.files) if self.files else ""
        return show_source(self, files, arrays, size=size)

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes of the first part."""
        return next(iter(self.parts.values())).var

    @property
    def contents(self) -> Contents | None:
        """Names of what the file or object of the first part holds."""
        return next(iter(self.parts.values())).contents

    @property
    def fingerprint(self) -> str:
        """A digest of the fingerprints of the parts, by name."""
        return fingerprint([[n, part.fingerprint] for n, part in self.parts.items()])

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row, over all parts."""
        return sum(part.mean_stored for part in self.parts.values())

    @property
    def block_starts(self) -> Rows | None:
        """The first rows of the storage chunks of the first array."""
        return next(iter(self.parts.values())).block_starts

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row of any part."""
        return max(part.longest_row() for part in self.parts.values())

    @property
    def stored_form(self) -> Form:
        """The form of the first part, and by name that of each."""
        forms = {name: part.stored_form for name, part in self.parts.items()}
        return replace(next(iter(forms.values())), by_name=forms)

    def form_of(
        self,
        output: OutputName | None = None,
        *,
        dtype: npt.DTypeLike | None = None,
        width: Width = None,
        overflow: Overflow = "error",
    ) -> Form:
        """Return the form that batches have; `width` may be given by name."""
        widths = width if isinstance(width, Mapping) else {}
        for one in widths.values() if widths is width else [width]:
            if isinstance(one, Iterable):
                raise ValueError(
                    f"several widths, {one}, go with one X, and X is several arrays;"
                    ' give one width for each by name: width={"X": 2048}'
                )
        for name in widths:
            if name not in self.parts:
                raise MissingNameError(
                    f'width names "{name}", which X has not;'
                    f" {nearest(name, self.parts)}"
                )
        forms = {
            name: part.form_of(
                output,
                dtype=dtype,
                width=widths.get(name) if width is widths else width,
                overflow=overflow,
            )
            for name, part in self.parts.items()
        }
        return replace(next(iter(forms.values())), by_name=forms)

    def row_bytes(self, form: Form) -> float:
        """Return the mean bytes of a row of all parts as they are held in `form`."""
        return sum(part.row_bytes(form.of(name)) for name, part in self.parts.items())

    def reading_bytes(self, form: Form) -> float:
        """Return the mean bytes that reading a row takes besides what is held of it."""
        parts = self.parts.items()
        return sum(part.reading_bytes(form.of(name)) for name, part in parts)

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        read = {
            name: part.read_x(replace(request, form=request.form.of(name)))
            for name, part in self.parts.items()
        }
        return [
            {name: batches[i] for name, batches in read.items()}
            for i in range(request.n_batches)
        ]


def open_arrays(
    names: Sequence[str],
    options: OpenOptions,
    open_one: Callable[[OpenOptions], Source],
) -> SideBySideSource:
    """Return several matrices of the same files or object side by side.

    Parameters
    ----------
    names
        What ``x=`` may name. Labels are read once, with the first.
    options
        All else; ``genes`` selects among those whose columns are genes.
    open_one
        Opens one of them.
    """
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"x must name different matrices, got {list(names)}")
    if options.genes is not None and not any(n.startswith(_OF_GENES) for n in names):
        raise ValueError(
            f"genes selects in X, raw/X and layers, and x names {list(names)}; open"
            " each with its genes=, and join them with MultiIndexable"
        )
    parts: dict[str, Source] = {}
    for name in names:
        own = replace(options, x=name)
        if parts:
            own = replace(own, obs=(), categories=None, obs_names=False)
        if not name.startswith(_OF_GENES):
            own = replace(own, genes=None)
        parts[name] = open_one(own)
    return SideBySideSource(parts)


def open_several(
    multi: MultiIndexable,
    options: OpenOptions,
    open_object: Callable[[Any, OpenOptions], Source],
) -> SideBySideSource:
    """Return the collections of a `MultiIndexable` side by side, by their names.

    Labels are those of the first. A collection that is no source is opened, by
    `open_object`.

    Raises
    ------
    FileFormatError
        If two of them name their cells, and these are not the same in the same order.
    """
    if options.genes is not None:
        raise ValueError(
            "genes goes with one matrix; open each collection with its own genes=, and"
            " give the sources to MultiIndexable"
        )
    _check_names(multi)
    parts: dict[str, Source] = {}
    for name, collection in multi.items():
        if not isinstance(collection, Source):
            collection = open_object(collection, options)
        elif not parts:
            _check_carried(collection, options)
        parts[str(name)] = collection
        options = replace(options, obs=(), categories=None, obs_names=False)
    return SideBySideSource(parts)


def _check_carried(source: Source, options: OpenOptions) -> None:
    """Raise if labels are asked for that a source was not opened with."""
    wanted = () if options.obs is True else options.obs
    for name in wanted:
        if name not in source.obs_columns:
            raise MissingNameError(
                f'the first source does not carry the obs column "{name}";'
                f" {nearest(name, source.obs_columns)}; open that source with obs="
            )


def _check_names(multi: MultiIndexable) -> None:
    """Raise if collections that name their cells disagree in them.

    Objects do, if not with the numbers that AnnData gives where there are no names;
    and sources that were opened with ``obs_names=True``. Of many, some are compared.
    """
    some = np.linspace(0, len(multi) - 1, min(len(multi), _MOST_NAMES))
    rows = some.astype(np.int64)
    first: tuple[Any, npt.NDArray[Any]] | None = None
    for name, collection in multi.items():
        names = _names_at(collection, rows)
        if names is None or np.array_equal(names, rows.astype(str)):
            continue
        if first is None:
            first = (name, names)
        elif not np.array_equal(names, first[1]):
            at = int(np.argmax(names != first[1]))
            raise FileFormatError(
                f'row {rows[at]} is the cell {first[1][at]} in "{first[0]}" and'
                f' {names[at]} in "{name}"; arrays side by side are of the same cells:'
                " bring them in one order, or give those that belong together one name"
            )


def _names_at(collection: Any, rows: Rows) -> npt.NDArray[Any] | None:
    if isinstance(collection, Source):
        found = collection.read_names(rows)
    else:
        names = getattr(collection, "obs_names", None)
        found = None if names is None else np.asarray(names)[rows]
    return None if found is None else found.astype(str)
