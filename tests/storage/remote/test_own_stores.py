"""File objects of the user's own: what is told apart, and who may move them."""

import io
import threading

import pytest

import scdataset_core as scd
from scdataset_core.storage.remote.own_stores import FileClient
from tests.sources.small_h5ad import make


@pytest.fixture
def labelled(tmp_path):
    """Return the bytes of two files of one length that differ in their labels."""
    import anndata as ad

    found = []
    for name, labels in (("x", ["a", "b"]), ("y", ["c", "d"])):
        cells = ad.read_h5ad(make(tmp_path / f"{name}.h5ad"))
        cells.obs["line"] = cells.obs["line"].cat.rename_categories(labels)
        cells.var_names = [f"{name}{i}" for i in range(cells.n_vars)]
        path = tmp_path / f"{name}.h5ad"
        cells.write_h5ad(path)
        found.append(path.read_bytes())
    assert len(found[0]) == len(found[1])
    return found


def test_files_of_one_length_are_told_apart(labelled):
    for name, labels, content in (
        ("x", ["a", "b"], labelled[0]),
        ("y", ["c", "d"], labelled[1]),
    ):
        source = scd.open(io.BytesIO(content), obs=["line"])
        assert source.categories["line"] == labels
        assert source.var_names[0] == f"{name}0"


def test_a_file_that_was_written_anew_is_read_anew(labelled):
    file = io.BytesIO(labelled[0])
    assert scd.open(file, obs=["line"]).categories["line"] == ["a", "b"]
    file.seek(0)
    file.write(labelled[1])
    assert scd.open(file, obs=["line"]).categories["line"] == ["c", "d"]


def test_all_who_read_a_file_object_take_turns():
    """Its position is one: whoever moves it must read before another moves it."""
    others: list[threading.Thread] = []

    class Slow(io.BytesIO):
        def read(self, n=-1):
            if not others:
                others.append(threading.Thread(target=read_elsewhere, daemon=True))
                others[0].start()
                others[0].join(0.2)  # it waits for this read
            return super().read(n)

    def read_elsewhere():
        found.append(bytes(second.get("", 50, 60, known)))

    found: list[bytes] = []
    file = Slow(bytes(range(100)))
    first, second = FileClient(file, "first"), FileClient(file, "second")
    known = first.head("")
    assert bytes(first.get("", 10, 20, known)) == bytes(range(10, 20))
    others[0].join()
    assert found == [bytes(range(50, 60))]
