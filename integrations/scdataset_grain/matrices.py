"""Convert a minibatch's X to dense, BCOO or BCSR matrices of JAX."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

__all__ = ["densify", "to_sparse"]

_PADDED = {"indices", "values", "length"}


def densify(x: Mapping[str, Any], n_vars: int) -> jax.Array:
    """Return padded rows as a dense matrix; it can be called inside ``jit``.

    Parameters
    ----------
    x
        ``batch["X"]`` of a Loader with ``output="padded"``: `indices` and `values`
        ``(n_cells, width)``, `length` ``(n_cells,)``.
    n_vars
        Number of columns, ``source.shape[1]``. It must be a Python integer, not a
        traced one.

    Returns
    -------
    dense
        Matrix of shape ``(n_cells, n_vars)`` and the dtype of the values. Values beyond
        a row's length have no effect, even if a transform has changed them. Filled rows
        are zero.

    Raises
    ------
    TypeError
        If `x` is not padded rows.
    ValueError
        If `x` is of NumPy and has a value in a column beyond the last one. Inside
        ``jit`` such values are left out.

    Examples
    --------
    >>> import numpy as np
    >>> x = {
    ...     "indices": np.array([[0, 2], [1, 0]], np.int32),
    ...     "values": np.array([[5.0, 6.0], [7.0, 0.0]], np.float32),
    ...     "length": np.array([2, 1], np.int32),
    ... }
    >>> densify(x, 3).tolist()
    [[5.0, 0.0, 6.0], [0.0, 7.0, 0.0]]
    """
    values, indices = _unpack_padded(x, n_vars, "densify")
    empty_row = jnp.zeros(n_vars, values.dtype)

    def fill_row(columns: jax.Array, entries: jax.Array) -> jax.Array:
        return empty_row.at[columns].add(entries)

    # Rows are filled one by one so that each stays on the device that holds it.
    dense: jax.Array = jax.vmap(fill_row)(indices, values)
    return dense


def to_sparse(
    x: Any,  # Any: a SciPy CSR array or matrix, or padded rows
    n_vars: int,
    *,
    layout: Literal["bcoo", "bcsr"] = "bcoo",
    nse: int | Sequence[int] | None = None,
) -> Any:
    """Return X as a sparse matrix of JAX.

    Parameters
    ----------
    x
        ``batch["X"]``, CSR or padded rows. Padded rows can be converted inside ``jit``.
    n_vars
        Number of columns, ``source.shape[1]``.
    layout
        ``"bcoo"`` or ``"bcsr"``.
    nse
        One or several numbers of stored elements, for CSR. The matrix gets the smallest
        number that holds the batch, and is filled up with elements that have no effect,
        so that ``jit`` compiles once for each number and not for each batch. By default
        the matrix has as many elements as the batch. Padded rows always have
        ``n_cells * width`` elements.

    Returns
    -------
    matrix
        A ``jax.experimental.sparse.BCOO`` or ``BCSR`` of shape ``(n_cells, n_vars)``.

    Raises
    ------
    TypeError
        If `x` is neither CSR nor padded.
    ValueError
        If the batch has more stored elements than `nse` allows, CSR has another number
        of columns, or padded rows of NumPy have a value in a column beyond the last.
    """
    if layout not in ("bcoo", "bcsr"):
        raise ValueError(f'layout must be "bcoo" or "bcsr", got "{layout}"')
    if isinstance(x, Mapping):
        if nse is not None:
            raise ValueError("nse goes with CSR; padded rows have a fixed number")
        return _convert_padded(x, n_vars, layout)
    if getattr(x, "format", None) != "csr":
        raise TypeError(
            f"to_sparse takes CSR or padded rows, got {type(x).__name__};"
            ' ask the Loader for output="csr" or output="padded"'
        )
    if x.shape[1] != n_vars:
        raise ValueError(f"n_vars is {n_vars}, and the batch has {x.shape[1]} columns")
    n_cells, stored = x.shape[0], int(x.indptr[-1])
    fill = _choose_nse(stored, nse) - stored
    values = np.concatenate([x.data[:stored], np.zeros(fill, x.data.dtype)])
    # In both layouts an element in a column beyond the last one counts as no element.
    columns = np.concatenate([x.indices[:stored], np.full(fill, n_vars)])
    shape = (n_cells, n_vars)
    if layout == "bcsr":
        starts = jnp.asarray(x.indptr, jnp.int32)
        parts = (jnp.asarray(values), jnp.asarray(columns, jnp.int32), starts)
        return sparse.BCSR(parts, shape=shape)
    rows = np.repeat(np.arange(n_cells), np.diff(x.indptr))
    rows = np.concatenate([rows, np.full(fill, n_cells)])
    indices = np.column_stack([rows, columns]).astype(np.int32)
    return sparse.BCOO((jnp.asarray(values), jnp.asarray(indices)), shape=shape)


def _convert_padded(x: Mapping[str, Any], n_vars: int, layout: str) -> Any:
    values, columns = _unpack_padded(x, n_vars, "to_sparse")
    n_cells, width = values.shape
    shape = (n_cells, n_vars)
    if layout == "bcsr":
        starts = jnp.arange(n_cells + 1, dtype=jnp.int32) * width
        return sparse.BCSR((values.ravel(), columns.ravel(), starts), shape=shape)
    rows = jnp.repeat(jnp.arange(n_cells, dtype=jnp.int32), width)
    indices = jnp.column_stack([rows, columns.ravel()])
    return sparse.BCOO((values.ravel(), indices), shape=shape)


def _unpack_padded(x: Any, n_vars: int, caller: str) -> tuple[jax.Array, jax.Array]:
    """Return the values, which are 0 beyond each row's length, and their columns."""
    if not isinstance(x, Mapping) or not set(x) >= _PADDED:
        raise TypeError(
            f"{caller} takes padded rows (indices, values, length), got"
            f' {type(x).__name__}; ask the Loader for output="padded"'
        )
    _check_columns(x["indices"], x["length"], n_vars)
    values = jnp.asarray(x["values"])
    inside = jnp.arange(values.shape[1]) < jnp.asarray(x["length"])[:, None]
    return jnp.where(inside, values, 0), jnp.asarray(x["indices"])


def _check_columns(indices: Any, length: Any, n_vars: int) -> None:
    """Raise if a column is beyond the last one, which JAX would leave out."""
    if not isinstance(indices, np.ndarray) or not isinstance(length, np.ndarray):
        return  # to look at arrays of JAX would wait for them, and in jit is impossible
    inside = np.arange(indices.shape[1]) < length[:, None]
    largest = int(indices.max(initial=0, where=inside))
    if largest >= n_vars:
        raise ValueError(
            f"n_vars is {n_vars}, and a cell has a value in column {largest};"
            " give source.shape[1]"
        )


def _choose_nse(stored: int, nse: int | Sequence[int] | None) -> int:
    """Return the smallest number of elements in `nse` that is at least `stored`."""
    if nse is None:
        return stored
    offered = [nse] if isinstance(nse, int) else list(nse)
    fitting = [size for size in offered if size >= stored]
    if not fitting:
        raise ValueError(
            f"the batch has {stored} stored elements and nse is at most"
            f' {max(offered, default=0)}; offer more, or use output="padded"'
        )
    return min(fitting)
