"""From a minibatch's X to the arrays of JAX: dense inside jit, BCOO, BCSR."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

__all__ = ["densify", "to_sparse"]

_PADDED = {"indices", "values", "length"}


def densify(x: Mapping[str, Any], n_vars: int) -> jax.Array:
    """Return padded rows as a dense matrix; for use inside ``jit``.

    Parameters
    ----------
    x
        ``batch["X"]`` of a Loader with ``output="padded"``: `indices` and `values`
        ``(n_cells, width)``, `length` ``(n_cells,)``.
    n_vars
        Number of columns, ``source.shape[1]``; a Python integer, not a traced one.

    Returns
    -------
    dense
        Shape ``(n_cells, n_vars)``, of the dtype of the values. What stands beyond a
        row's length has no effect, whatever a transform made of it; filled rows are
        zero.

    Raises
    ------
    TypeError
        If `x` is not in the padded form.

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
    values, indices = _checked_padded(x, "densify")
    row_zeros = jnp.zeros(n_vars, values.dtype)
    # Row by row: a row stays on the device that holds it.
    made: jax.Array = jax.vmap(lambda at, of: row_zeros.at[at].add(of))(indices, values)
    return made


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
        ``batch["X"]``: CSR, or padded rows; the latter also inside ``jit``.
    n_vars
        Number of columns, ``source.shape[1]``.
    layout
        ``"bcoo"`` or ``"bcsr"``.
    nse
        Numbers of stored elements, for CSR: the smallest that holds the batch is filled
        up with elements that have no effect, so that ``jit`` compiles once for each and
        not for each batch. None: as many as the batch has. Padded rows always have
        ``n_cells * width``.

    Returns
    -------
    matrix
        ``jax.experimental.sparse.BCOO`` or ``BCSR`` of shape ``(n_cells, n_vars)``.

    Raises
    ------
    TypeError
        If `x` is neither CSR nor padded.
    ValueError
        If the batch has more stored elements than `nse` allows, or CSR has another
        number of columns.
    """
    if layout not in ("bcoo", "bcsr"):
        raise ValueError(f'layout must be "bcoo" or "bcsr", got "{layout}"')
    if isinstance(x, Mapping):
        if nse is not None:
            raise ValueError("nse goes with CSR; padded rows have a fixed number")
        return _of_padded(x, n_vars, layout)
    if getattr(x, "format", None) != "csr":
        raise TypeError(
            f"to_sparse takes CSR or padded rows, got {type(x).__name__};"
            ' ask the Loader for output="csr" or output="padded"'
        )
    if x.shape[1] != n_vars:
        raise ValueError(f"n_vars is {n_vars}, and the batch has {x.shape[1]} columns")
    n_cells, stored = x.shape[0], int(x.indptr[-1])
    fill = _room(stored, nse) - stored
    values = np.concatenate([x.data[:stored], np.zeros(fill, x.data.dtype)])
    # Both layouts take a column beyond the last one for "no element".
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


def _of_padded(x: Mapping[str, Any], n_vars: int, layout: str) -> Any:
    values, columns = _checked_padded(x, "to_sparse")
    n_cells, width = values.shape
    shape = (n_cells, n_vars)
    if layout == "bcsr":
        starts = jnp.arange(n_cells + 1, dtype=jnp.int32) * width
        return sparse.BCSR((values.ravel(), columns.ravel(), starts), shape=shape)
    rows = jnp.repeat(jnp.arange(n_cells, dtype=jnp.int32), width)
    indices = jnp.column_stack([rows, columns.ravel()])
    return sparse.BCOO((values.ravel(), indices), shape=shape)


def _checked_padded(x: Any, caller: str) -> tuple[jax.Array, jax.Array]:
    """Return the values, 0 beyond each row's length, and their columns."""
    if not isinstance(x, Mapping) or not set(x) >= _PADDED:
        raise TypeError(
            f"{caller} takes padded rows (indices, values, length), got"
            f' {type(x).__name__}; ask the Loader for output="padded"'
        )
    values = jnp.asarray(x["values"])
    inside = jnp.arange(values.shape[1]) < jnp.asarray(x["length"])[:, None]
    return jnp.where(inside, values, 0), jnp.asarray(x["indices"])


def _room(stored: int, nse: int | Sequence[int] | None) -> int:
    """Return the smallest number of elements on offer that holds `stored`."""
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
