"""Damage in what Arrow has read is an error, where Arrow itself would crash."""

import pytest

from scdataset_core.errors import CorruptFileError
from scdataset_core.sources.arrow.soundness import check_sound

pa = pytest.importorskip("pyarrow")


def int32(*values):
    return pa.array(values, pa.int32()).buffers()[1]


DAMAGED = {
    "offsets_that_fall": lambda: pa.Array.from_buffers(
        pa.string(), 2, [None, int32(0, 4, 2), pa.py_buffer(b"abcd")]
    ),
    "text_that_is_no_utf8": lambda: pa.Array.from_buffers(
        pa.string(), 1, [None, int32(0, 2), pa.py_buffer(b"\xff\xfe")]
    ),
    "lists_whose_ends_fall": lambda: pa.Array.from_buffers(
        pa.list_(pa.int8()),
        2,
        [None, int32(0, 2, 1)],
        children=[pa.array([1], pa.int8())],
    ),
    "code_without_a_label": lambda: pa.DictionaryArray.from_arrays(
        pa.array([0, 7], pa.int32()), pa.array(["a"]), safe=False
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("held", ["array", "chunks", "table"])
def test_damage_is_named_with_the_file_and_the_column(kind, held):
    array = DAMAGED[kind]()
    if held != "array":
        array = pa.chunked_array([array])
    if held == "table":
        array = pa.table({"drug": array})
    with pytest.raises(CorruptFileError, match=r"a\.parquet: drug: .*is damaged"):
        check_sound(array, "a.parquet: drug")


def test_what_is_sound_passes():
    for array in (pa.array(["a", None]), pa.array([[1], []]), pa.array([], pa.null())):
        check_sound(array, "a.parquet")
    check_sound(pa.table({"x": [1.5]}), "a.parquet")
