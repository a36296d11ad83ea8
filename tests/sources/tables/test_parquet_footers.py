"""Footers of Parquet files are looked at before Arrow uses them."""

import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest

from scdataset_core.errors import FileFormatError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from scdataset_core.sources.tables.parquet_footers import check_footer  # noqa: E402

N = 40
COLUMNS = {
    "flag": pa.array(np.arange(N) % 2 == 0),
    "small": pa.array(np.arange(N, dtype=np.int32)),
    "large": pa.array(np.arange(N, dtype=np.int64)),
    "single": pa.array(np.arange(N, dtype=np.float32)),
    "double": pa.array(np.arange(N, dtype=np.float64)),
    "text": pa.array([f"text {i}" for i in range(N)]),
    "label": pa.array(["a", "b"] * (N // 2)).dictionary_encode(),
    "fixed": pa.array([b"%04d" % i for i in range(N)], pa.binary(4)),
    "price": pa.array([Decimal(i) for i in range(N)], pa.decimal128(20, 2)),
    "day": pa.array(np.arange(N).astype("datetime64[D]")),
    "time": pa.array(np.arange(N).astype("datetime64[ns]")),
    "lists": pa.array([[i, i + 1] for i in range(N)]),
    "parts": pa.array([{"x": i, "y": [str(i)]} for i in range(N)]),
    "none": pa.nulls(N),
    "same": pa.array(["same"] * N),
    "long": pa.array(["x" * 500] * N),
}
WAYS = {
    "plain": {"use_dictionary": False, "compression": "none"},
    "old": {"version": "1.0", "use_deprecated_int96_timestamps": True},
    "indexed": {"write_page_index": True, "write_page_checksum": True},
    "bare": {"write_statistics": False, "store_schema": False},
    "sorted": {"sorting_columns": [pq.SortingColumn(1)]},
}


def write(path, *, columns=COLUMNS, **options):
    pq.write_table(pa.table(columns), path, row_group_size=15, **options)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_sound_footers_pass(tmp_path, way):
    check_footer(str(write(tmp_path / "a.parquet", **WAYS[way])))


def test_footers_of_other_sizes_pass(tmp_path):
    pq.write_table(pa.table({}), tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": pa.array([], "i4")}), tmp_path / "empty.parquet")
    many = {f"column {i}": [i] for i in range(300)}
    pq.write_table(pa.table(many), tmp_path / "many.parquet")
    for path in tmp_path.iterdir():
        check_footer(str(path))


def replaced(path, old, new):
    """Replace the last occurrence of some bytes of the footer by as many others."""
    data = path.read_bytes()
    at = data.rindex(old)
    path.write_bytes(data[:at] + new + data[at + len(old) :])


# What the footer has of a column of the type double: its type, and its largest value.
TYPE, LARGEST = b"\x15\x0a\x19", b"\x08" + np.float64(N - 1).tobytes()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (TYPE, b"\x15\x00\x19", "of type 0, and of 5 in the schema"),
        (TYPE, b"\x15\x28\x19", "of type 20, and of 5"),
        (LARGEST, b"\x07" + LARGEST[1:8] + b"\x00", "not sound"),
        (LARGEST, b"\x7f" + LARGEST[1:], "not sound"),
    ],
)
def test_what_would_end_the_process_is_an_error(tmp_path, old, new, match):
    path = write(tmp_path / "a.parquet", columns={"double": COLUMNS["double"]})
    replaced(path, old, new)
    with pytest.raises(FileFormatError, match=rf"a\.parquet cannot be read: .*{match}"):
        check_footer(str(path))


def test_a_group_with_fewer_columns_than_the_schema_is_an_error(tmp_path):
    columns = dict.fromkeys(("a", "b"), COLUMNS["double"])
    path = write(tmp_path / "a.parquet", columns=columns)
    replaced(path, b"\x19\x2c\x26", b"\x19\x1c\x26")  # a list of two, of one
    with pytest.raises(FileFormatError, match="a row group has 1 columns"):
        check_footer(str(path))


def test_an_encrypted_column_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    # A schema of a root and a column; a group of a column with a field 8.
    schema = b"\x29\x2c" + b"\x55\x02\x00" + b"\x15\x02\x00"
    groups = b"\x29\x1c" + b"\x19\x1c" + b"\x8c\x00\x00" + b"\x00"
    footer = schema + groups + b"\x00"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FileFormatError, match="encrypted"):
        check_footer(str(path))


@pytest.mark.parametrize("byte", [0x15, 0x19, 0x1B, 0x1C, 0x18, 0xFF, 0xFE, 0x9F])
def test_footers_of_one_byte_again_and_again_come_to_an_end(tmp_path, byte):
    path = tmp_path / "a.parquet"
    footer = bytes([byte]) * 100_000
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FileFormatError, match="not sound"):
        check_footer(str(path))


READ = """
import sys
from pathlib import Path
from scdataset_core.errors import ScdatasetError
from scdataset_core.sources.tables.files import ParquetFiles
path, n_skipped, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = path.read_bytes()
start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
for bit in range(n_skipped, 8 * (len(data) - start), step):
    damaged = bytearray(data)
    damaged[start + bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    print(bit, flush=True)
    try:
        groups = ParquetFiles([str(path)])
        for name in groups.schema.names:
            groups.n_elements(name)
            groups.n_missing(name, 0, len(groups.starts) - 1)
            groups.read(0, [name])
            try:
                groups.bounds(name)
            except (TypeError, ValueError, AttributeError, MemoryError, OverflowError):
                pass  # it is of whole numbers in sound files
    except (ScdatasetError, MemoryError, OverflowError):
        pass
print("all")
"""


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("way", ["plain", "indexed"])
def test_no_flipped_bit_of_a_footer_ends_the_process(tmp_path, way):
    path = write(tmp_path / "a.parquet", **WAYS[way])
    command = [sys.executable, "-c", READ, str(path), "0", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("all\n"), done.stdout[-40:] + done.stderr
