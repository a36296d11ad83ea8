"""Tables that lie about their own values: Arrow would follow them out of its memory."""

from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError, FileFormatError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 60
NAMES = ["a", "b", "c", "d"]


def table():
    """Return cells with two genes each, the row's number + 1 as values."""
    labels = [f"lab{i % 7}" for i in range(N)]
    return pa.table(
        {
            "genes": [[0, 3]] * N,
            "expressions": [[i + 1.0] * 2 for i in range(N)],
            "text": labels,
            "large": pa.array(labels, pa.large_string()),
            "coded": pa.array(labels).dictionary_encode(),
        }
    )


def place_in_file(path, find):
    """Return where the buffer that `find` picks of the last batch lies in a file."""
    mapped = pa.memory_map(str(path))
    base = mapped.read_buffer(Path(path).stat().st_size).address
    mapped.seek(0)
    with mapped:
        try:
            held = pa.ipc.open_file(mapped)
            batch = held.get_batch(held.num_record_batches - 1)
        except pa.ArrowInvalid:
            mapped.seek(0)
            batch = list(pa.ipc.open_stream(mapped))[-1]
        return find(batch).address - base


BUFFERS = {
    "genes": (lambda b: b.column("genes").buffers()[1], 4),
    "values": (lambda b: b.column("expressions").buffers()[1], 4),
    "text": (lambda b: b.column("text").buffers()[1], 4),
    "large": (lambda b: b.column("large").buffers()[1], 8),
    "codes": (lambda b: b.column("coded").buffers()[1], 4),
    "labels": (lambda b: b.column("coded").dictionary.buffers()[1], 4),
}


def damage(path, name, value):
    """Change the sixth number of a buffer."""
    find, width = BUFFERS[name]
    at = place_in_file(path, find) + 5 * width
    data = bytearray(Path(path).read_bytes())
    data[at : at + width] = value.to_bytes(width, "little", signed=True)
    Path(path).write_bytes(data)


def read_all(path, obs=("text", "large", "coded")):
    """Read all of a table."""
    source = scd.open(path, vocabulary=NAMES, obs=list(obs))
    cells = source.read(np.arange(N))
    np.testing.assert_array_equal(cells["X"].toarray()[:, 3], np.arange(N) + 1)
    return source


damaged = pytest.mark.parametrize("name", BUFFERS)
values = pytest.mark.parametrize("value", [-1, 1 << 30], ids=["negative", "large"])


@damaged
@values
def test_arrow_file_with_wrong_offsets_or_codes(tmp_path, name, value):
    path = tmp_path / "a.arrow"
    held = table()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, held.schema) as out:
        for batch in held.to_batches(max_chunksize=30):
            out.write_batch(batch)
    read_all(path)
    damage(path, name, value)
    with pytest.raises(CorruptFileError, match=r"a\.arrow: row group .*, column "):
        read_all(path)


@pytest.mark.parametrize("name", ["genes", "values", "text", "large"])
@values
def test_saved_data_set_with_wrong_offsets(tmp_path, name, value):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    path = tmp_path / "saved"
    datasets.Dataset(table().drop_columns(["coded"])).save_to_disk(path)
    (file,) = path.glob("*.arrow")
    damage(file, name, value)
    with pytest.raises(CorruptFileError, match=r"saved: .*column "):
        read_all(path, obs=["text", "large"])


def test_list_of_rows_that_leads_outside_the_table():
    datasets = pytest.importorskip("datasets")
    from datasets.table import InMemoryTable

    held = datasets.Dataset(table().drop_columns(["coded"]))
    for wrong in (N, 2**64 - 1):
        ids = np.array([3, wrong, 5], np.uint64)
        rows = InMemoryTable(pa.table({"indices": ids}))
        picked = datasets.Dataset(held.data, indices_table=rows)
        source = scd.open(picked, vocabulary=NAMES)
        with pytest.raises(CorruptFileError, match=r"the row .* for the cell 1"):
            source.read([0, 1, 2])


def test_text_of_a_parquet_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.parquet"
    held = table()
    raw = pa.array([b"\xff\xfe"] * N).view(pa.binary())
    text = pa.StringArray.from_buffers(N, *raw.buffers()[1:])
    pq.write_table(held.set_column(2, "text", text), path, compression="none")
    with pytest.raises(CorruptFileError, match=r"a\.parquet.*column text.*UTF"):
        read_all(path)


def test_a_parquet_row_that_claims_more_than_its_file_can_hold(tmp_path):
    n = 6_000_000
    lists = {
        "genes": pa.ListArray.from_arrays([0, n], np.zeros(n, np.int32)),
        "expressions": pa.ListArray.from_arrays([0, n], np.zeros(n, np.float32)),
    }
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(lists), path)
    with pytest.raises(CorruptFileError, match=r"group 0, column .* claims 24,000,000"):
        scd.open(path, vocabulary=NAMES)


@pytest.mark.slow
def test_a_parquet_footer_that_ends_arrow_ends_the_child_alone(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path)
    data = path.read_bytes()
    # The type of a column, as its chunk in the last group has it: double is 5.
    at = data.rindex(b"\x15\x0a\x19") + 1
    path.write_bytes(data[:at] + b"\x00" + data[at + 1 :])
    with pytest.raises((CorruptFileError, FileFormatError), match=r"x\.parquet"):
        scd.open(path, vocabulary=NAMES, isolated=True)
