"""What keeps a process from writing chunks, and what does not."""

import errno
import os

import numpy as np
import pytest

from scdataset_core.storage.cache.writing import PAGES_BYTES, ChunkWrites, Writer


def always(n_bytes):
    return True


@pytest.mark.parametrize("call", ["open", "pwrite", "fstat"])
def test_a_file_that_another_client_removed_does_not_end_writing(
    tmp_path, monkeypatch, call
):
    """On a network's disk it is stale: it was there, and is no more."""
    failures: list[Exception] = []
    done: list[bool] = []
    writer = Writer(always, always, failures.append)
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


def test_no_record_is_noted_of_a_chunk_whose_first_piece_was_refused(tmp_path):
    """Both pieces are written together, and there is room for the last one alone."""
    data, index = tmp_path / "data", tmp_path / "index"
    data.touch()
    index.touch()
    pieces = [np.ones((1, 300), np.uint8), np.ones((1, 20), np.uint8)]
    sound = []

    def piece(number, record):
        return ChunkWrites(
            str(data), [300 * number], pieces[number], str(index), [0], record, keep
        )

    def keep(done):
        sound.append(done)

    def record_last(looks):
        return [b"recorded" if all(sound) else bytes(8)]

    def admit(n_bytes):
        return n_bytes < 300 + PAGES_BYTES

    failures: list[Exception] = []
    writer = Writer(admit, lambda n_bytes: False, failures.append)
    writer.write(piece(0, lambda looks: [b""]), piece(1, record_last))
    assert not failures
    assert data.stat().st_size == 320
    assert index.read_bytes() == bytes(8)
    writer.close_files()
