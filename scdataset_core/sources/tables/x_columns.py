"""Finds the columns of a table that hold X, and the genes that they are of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError, MissingNameError, nearest
from ..genes.numbered_genes import GeneIds
from ..options import OpenOptions
from .list_columns import ListX, flat_lists, flat_numbers
from .mapped_lists import MappedLists
from .row_groups import Groups

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["find_columns", "list_x"]

# The columns of Tahoe-100M, of tokenised cells, scTab and Merlin, SLAF, TileDB-SOMA.
_KNOWN = (
    ("genes", "expressions"),
    ("indices", "values"),
    ("indices", "data"),
    ("X",),
    ("cell_integer_id", "gene_integer_id", "value"),
    ("cell", "gene", "value"),
    ("soma_dim_0", "soma_dim_1", "soma_data"),
)


def find_columns(groups: Groups, options: OpenOptions) -> tuple[str, ...]:
    """Return the one, two or three columns that hold X.

    Raises
    ------
    MissingNameError
        If a column that was named is not there.
    FileFormatError
        If none was named, and there is none of a well-known name; or there are several
        of a name.
    """
    columns = _named_columns(groups, options)
    for name in columns:
        if (n := groups.schema.names.count(name)) > 1:
            raise FileFormatError(
                f'{groups.files[0]} has {n} columns called "{name}", which holds X;'
                " write it again with one"
            )
    return columns


def _named_columns(groups: Groups, options: OpenOptions) -> tuple[str, ...]:
    """Return the columns that were named, or those of a well-known name."""
    names, file = groups.schema.names, groups.files[0]
    if options.columns is None:
        for columns in _KNOWN:
            if set(columns) <= set(names):
                return columns
        listed = ", ".join(" + ".join(columns) for columns in _KNOWN)
        raise FileFormatError(
            f"{file}: none of its columns is known to hold X ({listed}); name those"
            " that do: open(..., columns=(gene ids, values)), or columns=NAME of dense"
            f" rows; {nearest('X', names)}"
        )
    for name in options.columns:
        if name not in names:
            raise MissingNameError(
                f'{file} has no column "{name}", which columns names;'
                f" {nearest(name, names)}"
            )
    return options.columns


def list_x(groups: Groups, columns: tuple[str, ...], options: OpenOptions) -> ListX:
    """Return X in list columns: of dense rows, or of gene ids and of values."""
    kinds = [_element_type(groups, name) for name in columns]
    dtype = np.dtype(kinds[-1].to_pandas_dtype())
    # In the order in which ListX reads them: the values, then the ids.
    mapped = None if groups.decoded else MappedLists(groups, columns[::-1])
    if len(columns) == 1:
        genes = _dense_genes(groups, columns[0], options)
        return ListX(groups, columns[0], None, genes, dtype, mapped=mapped)
    ids, values = columns
    if np.dtype(kinds[0].to_pandas_dtype()).kind not in "iu":
        raise FileFormatError(
            f"{groups.files[0]}: {ids} holds {kinds[0]}, expected integer gene ids"
        )
    if options.vocabulary is None:
        raise ValueError(
            f"{groups.files[0]} holds genes by number, in its column {ids}; say what"
            " they are called: open(..., vocabulary={3: 'TSPAN6', ...}), or a list of"
            " names"
        )
    genes = GeneIds.of(options.vocabulary)
    marked = _marked(groups, ids, values, genes)
    return ListX(groups, values, ids, genes, dtype, marked, mapped)


def _element_type(groups: Groups, name: str) -> "pa.DataType":
    """Return the type of the elements of a list column, which are numbers."""
    import pyarrow.types as pt

    kind = groups.schema.field(name).type
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        raise FileFormatError(
            f"{groups.files[0]}: {name} is {kind}, expected a list of numbers a cell"
        )
    element = kind.value_type
    if not (pt.is_integer(element) or pt.is_floating(element)):
        raise FileFormatError(
            f"{groups.files[0]}: {name} holds lists of {element}, expected numbers"
        )
    return element


def _dense_genes(groups: Groups, name: str, options: OpenOptions) -> GeneIds:
    width = getattr(groups.schema.field(name).type, "list_size", -1)
    vocabulary: Any = options.vocabulary
    if width < 0 and vocabulary is not None:
        width = len(vocabulary)
    if width < 0:
        bounds, _ = flat_lists(groups.read(_first_group(groups), [name])[0])
        width = int(bounds[1] - bounds[0])
    if vocabulary is None:
        return GeneIds.of([str(i) for i in range(width)])
    if isinstance(vocabulary, Mapping):
        missing = [i for i in range(width) if i not in vocabulary]
        if missing:
            raise ValueError(
                f"vocabulary must name each of the {width} values of a row of {name};"
                f" it lacks {missing[0]}"
            )
        vocabulary = [vocabulary[i] for i in range(len(vocabulary))]
    if len(vocabulary) != width:
        raise ValueError(
            f"vocabulary has {len(vocabulary)} genes, and rows of {name} in"
            f" {groups.files[0]} have {width} values"
        )
    return GeneIds.of(vocabulary)


def _first_group(groups: Groups) -> int:
    return int(np.argmax(np.diff(groups.starts) > 0))


def _marked(groups: Groups, ids: str, values: str, genes: GeneIds) -> bool:
    """Return whether the first row that holds something begins with a marker."""
    if groups.starts[-1] == 0:
        return False
    lists = groups.read(_first_group(groups), [values, ids])
    (bounds, _), (id_bounds, _) = (flat_lists(column) for column in lists)
    filled = np.flatnonzero(np.diff(bounds))
    if not len(filled):
        return False
    value = flat_numbers(lists[0].values)[bounds[filled[0]]]
    at = int(id_bounds[filled[0]])
    gene = flat_numbers(lists[1].values)[at : at + 1]
    return bool(value < 0 and not genes.known(gene).all())
