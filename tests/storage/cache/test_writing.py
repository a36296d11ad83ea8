"""What keeps a process from writing chunks, and what does not."""

import errno
import os

import numpy as np
import pytest

from scdataset_core.storage.cache.writing import ChunkWrites, Writer


@pytest.mark.parametrize("call", ["open", "pwrite", "fstat"])
def test_a_file_that_another_client_removed_does_not_end_writing(
    tmp_path, monkeypatch, call
):
    """On a network's disk it is stale: it was there, and is no more."""
    failures: list[Exception] = []
    done: list[bool] = []
    writer = Writer(lambda n_bytes: True, failures.append)
    path = tmp_path / "data"
    path.touch()
    kept = np.arange(10, dtype=np.uint8)[None]

    def write():
        records = str(tmp_path / "index")
        writer.write(
            ChunkWrites(
                str(path), [0], kept, records, [0], lambda looks: [b""], done.append
            )
        )

    def stale(*arguments, **options):
        raise OSError(errno.ESTALE, "Stale file handle")

    write()
    if call == "open":
        writer.close_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, stale)
        write()
    write()
    assert done == [True, False, True]
    assert not failures
    assert not writer.is_closed
    writer.close_files()
