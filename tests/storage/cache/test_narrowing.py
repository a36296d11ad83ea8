"""The narrowest type gives every value back bit for bit, whatever it is."""

import ctypes
import platform
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scdataset_core.storage.cache.narrowing import (
    N_KINDS,
    can_keep,
    common_kind,
    kept_dtype,
    narrow,
)

DTYPES = [
    np.dtype(name)
    for name in ("?", *"bBhHiIqQ", "e", "f", "d")
    if can_keep(np.dtype(name))
]
# Whole numbers about the ends of every type, and what floats have besides.
EDGES = [
    edge + step
    for edge in (0, 2**8, 2**11, 2**16, 2**24, 2**31, 2**32, 2**53, 2**63, 2**64)
    for step in (-2, -1, 0, 1, 2)
]
FLOATS = [-0.0, 0.5, 255.5, 65535.5, 1e-45, 5e-324, 65504.0, 3.4e38, 1e300]


def bits(values):
    return values.view(f"u{values.dtype.itemsize}")


def edges_of(dtype):
    if dtype.kind == "b":
        return [False, True]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return [edge for edge in EDGES if limits.min <= edge <= limits.max]
    with np.errstate(over="ignore"):
        found = [dtype.type(edge) for edge in (*EDGES, *FLOATS)]
    return [*found, dtype.type("nan"), dtype.type("inf"), -dtype.type("inf")]


@st.composite
def arrays(draw, dtype=None):
    """Return values of any bits, NaN of any payload too, or edges of types."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    n = draw(st.integers(1, 12))
    how = draw(st.sampled_from(["bits", "edges", "wholes"]))
    if how == "bits" and dtype.kind != "b":
        raw = draw(hnp.arrays(f"u{dtype.itemsize}", n))
        return raw.view(dtype)
    if how == "wholes" and dtype.kind != "b":
        high = draw(st.sampled_from([100, 255, 256, 65535, 65536, 2**31]))
        limit = 60_000 if dtype.kind == "f" else np.iinfo(dtype).max
        return draw(
            hnp.arrays("i8", n, elements=st.integers(0, min(high, limit)))
        ).astype(dtype)
    return np.array(draw(st.lists(st.sampled_from(edges_of(dtype)), min_size=n)), dtype)


@settings(max_examples=100)
@given(arrays())
@example(np.array([0x7FF0000000000001], "u8").view("f8"))  # a signalling NaN
@example(np.array([0x7F800001], "u4").view("f4"))
@example(np.array([0x7C01], "u2").view("f2"))
@example(np.array([2**64 - 1, 2**53 + 1], "u8"))
@example(np.array([2**32 - 1, 0], "i8"))
@example(np.array([-0.0, 3.0]))
def test_values_come_back_bit_for_bit(values):
    before = values.copy()
    kind, kept = narrow(values)
    assert 0 < kind < N_KINDS
    assert kept.dtype == kept_dtype(kind, values.dtype)
    assert kept.dtype.itemsize <= values.dtype.itemsize
    assert not np.shares_memory(kept, values)
    with np.errstate(invalid="ignore"):
        back = kept.astype(values.dtype)
    np.testing.assert_array_equal(bits(back), bits(values))
    np.testing.assert_array_equal(bits(values), bits(before))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_edge_of_a_type_alone_comes_back(dtype):
    for edge in edges_of(dtype):
        values = np.array([edge, edge], dtype)
        kind, kept = narrow(values)
        np.testing.assert_array_equal(
            bits(kept.astype(dtype)), bits(values), err_msg=f"{edge!r} {kind}"
        )


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 255], "f4", "u1"),
        ([0, 256], "f4", "u2"),
        ([0, 65536], "f4", "f4"),
        ([0, 65536], "f8", "u4"),
        ([0, 2**32], "f8", "f4"),
        ([0.1], "f8", "f8"),
        ([0.5], "f8", "f4"),
        ([0, 255], "f2", "u1"),
        ([0, 256], "f2", "f2"),
        ([0, 62_000], "i8", "u2"),
        ([0, 62_000], "i4", "u2"),
        ([0, 70_000], "i8", "u4"),
        ([-1, 70_000], "i8", "i8"),
        ([2**32], "u8", "u8"),
        ([True], "?", "?"),
        ([3], "i1", "i1"),
    ],
)
def test_the_type_is_the_narrowest_of_those_there_are(values, dtype, expected):
    assert narrow(np.array(values, dtype))[1].dtype == np.dtype(expected)


@given(st.data())
def test_the_common_kind_of_two_holds_both(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    a, b = data.draw(arrays(dtype)), data.draw(arrays(dtype))
    kind = common_kind(narrow(a)[0], narrow(b)[0])
    for values in (a, b):
        with np.errstate(invalid="ignore", over="ignore"):
            back = values.astype(kept_dtype(kind, dtype)).astype(dtype)
        np.testing.assert_array_equal(bits(back), bits(values))


@contextmanager
def smallest_floats_taken_for_0():
    """Set this thread's processor so, as PyTorch's `set_flush_denormal` does."""
    if platform.libc_ver()[0] != "glibc" or platform.machine() != "x86_64":
        pytest.skip("this processor is set in another way")
    library = ctypes.CDLL("libm.so.6")
    before, now = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    library.fegetenv(before)
    library.fegetenv(now)
    now[7] |= 0x8040
    library.fesetenv(now)
    try:
        yield
    finally:
        library.fesetenv(before)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_smallest_floats_are_kept_where_a_thread_takes_them_for_0(dtype):
    values = np.array([0, 1, 255, 0], dtype)
    bits(values)[-1] = 3
    with smallest_floats_taken_for_0():
        assert (values[-1:] == 0).all()
        kept = narrow(values)[1]
    np.testing.assert_array_equal(bits(kept), bits(values))
