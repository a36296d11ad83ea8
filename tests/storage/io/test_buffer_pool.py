"""Memory is used again, but never under a living view."""

import gc
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.storage.io.buffer_pool import BufferPool

N = 100_000


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_nothing_looks_at_it() -> None:
    pool = BufferPool()
    array = pool.empty(N, "f4")
    place = address(array)
    assert array.shape == (N,)
    assert array.dtype == np.float32
    assert array.flags.writeable
    del array
    assert address(pool.empty(N, "f4")) == place


def as_slice(array):
    return array[10:20][2:4]


def as_csr(array):
    indices = np.arange(len(array), dtype=np.int32)
    return sp.csr_array((array, indices, np.array([0, N])), shape=(1, N))


def as_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)[5:9]


VIEWS = {
    "slice": as_slice,
    "slice_of_copyless_reshape": lambda array: array.reshape(10, -1)[3, 5:7],
    "other_type": lambda array: array.view("u1")[7:],
    "csr": as_csr,
    "tensor": as_tensor,
    "memoryview": lambda array: memoryview(array)[3:5],
    "frombuffer": lambda array: np.frombuffer(array.data, "u1"),
    "broadcast": lambda array: np.broadcast_to(array, (2, N)),
    "interface": lambda array: np.lib.stride_tricks.as_strided(array, (4,), (8,)),
}


# The default run tries one view of NumPy's, one of SciPy's and one of neither.
DIFFERENT_KINDS = {"slice", "csr", "memoryview"}


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(name, marks=() if name in DIFFERENT_KINDS else pytest.mark.slow)
        for name in VIEWS
    ],
)
def test_memory_under_a_view_is_never_used_again(view) -> None:
    pool = BufferPool()
    array = pool.empty(N, "f4")
    array[:] = 1
    place = address(array)
    look = VIEWS[view](array)
    del array
    gc.collect()
    assert pool.n_idle_bytes == 0
    assert address(pool.empty(N, "f4")) != place
    del look
    gc.collect()
    assert pool.n_idle_bytes > 0


def test_small_arrays_are_not_kept() -> None:
    pool = BufferPool()
    pool.empty(0, "f4")
    pool.empty(100, "f4")
    assert pool.n_idle_bytes == 0


def test_idle_memory_is_bounded() -> None:
    pool = BufferPool(idle_bytes=10**6)
    held = [pool.empty(N, "f4") for _ in range(10)]
    del held
    assert 0 < pool.n_idle_bytes <= 10**6
    pool.close()
    assert pool.n_idle_bytes == 0


def test_arrays_outlive_their_pool() -> None:
    pool = BufferPool()
    array = pool.empty(N, "f4")
    array[:] = 3
    pool.close()
    del pool
    gc.collect()
    assert (array == 3).all()


@given(st.lists(st.tuples(st.integers(16_000, 60_000), st.booleans()), max_size=40))
def test_living_arrays_never_share_memory(steps) -> None:
    pool = BufferPool()
    held: list[tuple[int, np.ndarray]] = []
    for number, (n, drop) in enumerate(steps):
        array = pool.empty(n, "f4")
        array[:] = number
        held.append((number, array[n // 3 :]))
        if drop:
            del held[len(held) // 2]
        for mark, view in held:
            assert (view == mark).all()


def test_many_threads_share_a_pool() -> None:
    pool = BufferPool()
    wrong = []

    def work(mark: int) -> None:
        for _ in range(200):
            array = pool.empty(20_000 + mark, "i4")
            array[:] = mark
            if (array != mark).any():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_begins_at_a_cache_line():
    pool = BufferPool()
    arrays = [pool.empty(n, "u1") for n in (70_000, 100_001, 1 << 20)]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
