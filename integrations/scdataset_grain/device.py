"""device_prefetch puts minibatches onto the accelerator before they are asked for."""

import os
import threading
from collections.abc import Generator, Iterable
from typing import Any

import grain
import jax
import numpy as np

from scdataset_core.readahead import ReadAhead

from .resumable_input import ResumableInput

__all__ = ["device_prefetch"]

_DEPTH = 2  # batches on the device beyond the one in use: double buffering
_NO_STATE = (
    "device_prefetch was given an iterator without a state; give it a BatchIterDataset,"
    " its iterator, or a Loader"
)


def device_prefetch(
    iterator: Iterable[Any], sharding: jax.sharding.Sharding | None = None
) -> "DeviceIterator":
    """Put minibatches onto the device while earlier ones are in use.

    A thread takes batches from `iterator` and starts their transfer, at most two
    batches ahead. Every batch must have the shapes of the first, so that ``jit``
    compiles once. If `sharding` is None, arrays that are already on a device are
    neither checked nor changed.

    Parameters
    ----------
    iterator
        An iterable of minibatches that are trees of arrays: a Grain dataset or its
        iterator, a Loader, a generator.
    sharding
        How the arrays are placed on devices; axis 0 of each array is the batch. If
        there are several processes, each gives its own rows and gets the global array
        (``jax.make_array_from_process_local_data``). By default arrays go onto the
        default device.

    Returns
    -------
    batches
        A `grain.DatasetIterator`. ``get_state()`` returns the state of the Grain
        iterator or Loader after the batch that was yielded last, whatever the thread
        has taken since. ``set_state()`` goes on from such a state, and
        ``grain.checkpoint`` saves and restores it. ``close()`` ends the thread, and so
        does dropping the iterator.

    Raises
    ------
    ValueError
        ``next`` raises this if a batch's shapes differ from the first's, or its rows
        cannot be divided among the devices.
    TypeError
        If `sharding` is not a sharding. ``next`` raises this if a part of a batch is
        not an array but, for example, a SciPy matrix.
    OverflowError
        ``next`` raises this if a 64-bit integer does not fit into the 32 bits that JAX
        uses by default.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.ones((8, 3), np.float32), batch_size=4)
    >>> [type(rows).__name__ for rows in device_prefetch(loader)]
    ['ArrayImpl', 'ArrayImpl']
    """
    if sharding is not None and not isinstance(sharding, jax.sharding.Sharding):
        raise TypeError(
            f"sharding must be a jax.sharding.Sharding or None, got {sharding!r}; such"
            ' as NamedSharding(mesh, PartitionSpec("data"))'
        )
    return DeviceIterator(iterator, sharding)


class DeviceIterator(grain.DatasetIterator):  # type: ignore[misc]  # Grain is untyped
    """The iterator that `device_prefetch` returns.

    It derives from Grain's class, so that ``grain.checkpoint`` and Orbax can save and
    restore it. Its thread starts with the first ``next`` or :meth:`start_prefetch`.
    """

    def __init__(
        self, iterable: Iterable[Any], sharding: jax.sharding.Sharding | None
    ) -> None:
        super().__init__()
        self._input = ResumableInput(iterable)
        self._state = self._input.get_state()
        self._transfer = _Transfer(sharding)
        self._ahead: ReadAhead[tuple[Any, Any]] | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()  # a batch and the state after it belong together

    def __next__(self) -> Any:
        self._check_process()
        with self._lock:
            self._assert_not_closed()
            self.start_prefetch()
            assert self._ahead is not None
            try:
                batch, self._state = next(self._ahead)
            except StopIteration:
                raise
            except BaseException:
                if self._state is not None:
                    self._go_on_from(self._state)  # the next call tries again
                raise
            return batch

    def start_prefetch(self) -> None:
        """Start putting minibatches onto the device, if that has not begun."""
        if self._ahead is None and not self._closed:
            # A thread that referred to self would keep it from being collected.
            transfer = self._transfer
            self._ahead = ReadAhead(
                _pair_with_states(self._input),
                lambda pair: (transfer(pair[0]), pair[1]),
                depth=_DEPTH,
            )

    def get_state(self) -> Any:
        """Return the iterator's state after the batch that was yielded last.

        Raises
        ------
        TypeError
            If the iterable that was given has no state.
        """
        if self._state is None:
            raise TypeError(_NO_STATE)
        return self._state

    def set_state(self, state: Any) -> None:
        """Go on from a state of the same pipeline, and drop the prefetched batches.

        Raises
        ------
        TypeError
            If the iterable that was given has no state.
        scdataset_core.StateError
            If the state belongs to another data set, strategy, size, shard or version.
        """
        self._check_process()
        with self._lock:
            if self._state is None:
                raise TypeError(_NO_STATE)
            self._go_on_from(state)

    def _go_on_from(self, state: Any) -> None:
        self._stop()  # the thread takes batches from the input that changes here
        self._input.set_state(state)
        self._state = self._input.get_state()

    def close(self) -> None:
        """Stop the thread and drop the batches that it has put onto the device."""
        if not getattr(self, "_closed", True):
            super().close()
            self._stop()

    def _stop(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def _check_process(self) -> None:
        """Raise in a forked child, where neither the thread nor JAX works."""
        if self._process != os.getpid():
            raise RuntimeError(
                "device_prefetch was called before the process forked; call it in the"
                " child, started by spawn, since JAX does not work after a fork"
            )

    def __str__(self) -> str:
        return "DeviceIterator()"


def _pair_with_states(
    batches: ResumableInput,
) -> Generator[tuple[Any, Any], None, None]:
    """Yield each batch with the state after it."""
    for batch in batches.iterator:
        yield batch, batches.get_state()


class _Transfer:
    """Puts batches, all of the same shapes, onto devices as `sharding` says."""

    def __init__(self, sharding: jax.sharding.Sharding | None) -> None:
        self._sharding = sharding
        self._first: dict[str, tuple[int, ...]] | None = None

    def __call__(self, batch: Any) -> Any:
        leaves, tree = jax.tree_util.tree_flatten_with_path(batch)
        named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
        for name, leaf in named:
            _check_array(name, leaf)
        self._check_shapes(named)
        return jax.tree_util.tree_unflatten(tree, [self._put(*pair) for pair in named])

    def _check_shapes(self, named: list[tuple[str, Any]]) -> None:
        shapes = {
            name: np.shape(leaf)
            for name, leaf in named
            if self._sharding is not None or not isinstance(leaf, jax.Array)
        }
        if self._first is None:
            self._first = shapes
        if shapes == self._first:
            return
        name = next(
            name
            for name in [*self._first, *shapes]
            if self._first.get(name) != shapes.get(name)
        )
        raise ValueError(
            f"batch{name} has shape {shapes.get(name)}, and the first batch's"
            f" {self._first.get(name)}: every shape is another compilation. Give the"
            ' Loader output="padded", whose batches are all of one shape, or'
            " drop_last=True if only the last batch is short"
        )

    def _put(self, name: str, leaf: Any) -> Any:
        if self._sharding is None:
            return leaf if isinstance(leaf, jax.Array) else jax.device_put(leaf)
        try:
            return jax.make_array_from_process_local_data(  # type: ignore[no-untyped-call]  # has no hints
                self._sharding, np.asarray(leaf)
            )
        except ValueError as error:
            error.add_note(
                f"batch{name} has shape {np.shape(leaf)}: batch_size times the number"
                " of processes must be a multiple of the devices along axis 0"
            )
            raise


def _check_array(name: str, leaf: Any) -> None:
    if isinstance(leaf, jax.Array | np.number | np.bool_ | bool | int | float):
        return
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biufc":
        kind = leaf.dtype if isinstance(leaf, np.ndarray) else type(leaf).__name__
        raise TypeError(
            f"batch{name} is {kind}, which cannot go onto a device; ask the Loader for"
            ' output="padded" or output="dense", or convert it in batch_transform'
            " (scdataset_grain.to_sparse for CSR)"
        )
    _check_fits(name, leaf)


def _check_fits(name: str, leaf: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Raise if JAX would cut 64-bit integers to 32 bits and change their values."""
    on_device = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if leaf.dtype.kind not in "iu" or on_device == leaf.dtype or not leaf.size:
        return
    limits = np.iinfo(on_device)
    if leaf.min() < limits.min or leaf.max() > limits.max:
        raise OverflowError(
            f"batch{name} holds {leaf.max()}, and JAX makes it {on_device}; call"
            " jax.config.update('jax_enable_x64', True), or drop it in batch_transform"
        )
