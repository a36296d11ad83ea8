"""A process that holds one library and measures it when told to, by lines of JSON.

`pool.py` starts it with the interpreter that has the library. The parent interleaves
the measurements of its workers, and an idle worker costs nothing.
"""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import contestants
from contestants import Epoch, Setting, convert_for_annbatch, fill_cache

MIB = 1 << 20


def whole_fetches(epoch: Epoch, fetch: int) -> Iterator[int]:
    """Yield the cells of each whole fetch, epoch after epoch, for ever."""
    while True:
        cells = 0
        for number, batch in enumerate(epoch(), 1):
            cells += batch
            if number % fetch == 0:
                yield cells
                cells = 0
        if cells:
            yield cells


def warm_rate(epoch: Epoch, fetch: int, *, seconds: float) -> dict[str, float]:
    """Measure from one fetch's end to another's, after a quarter of the time."""
    fetches = whole_fetches(epoch, fetch)
    began = time.perf_counter()
    for done, _ in enumerate(fetches, 1):
        if done >= 2 and time.perf_counter() - began > seconds / 4:
            break
    cells = 0
    began = time.perf_counter()
    for fetched in fetches:
        cells += fetched
        took = time.perf_counter() - began
        if took >= seconds:
            return {"cells": cells, "seconds": took, "rate": cells / took}
    raise RuntimeError("no cells")


def cold_rate(epoch: Epoch, fetch: int, *, cells: int) -> dict[str, float]:
    """Measure the first `cells` cells of an epoch, its start included."""
    seen = 0
    began = time.perf_counter()
    for fetched in whole_fetches(epoch, fetch):
        seen += fetched
        if seen >= cells:
            break
    took = time.perf_counter() - began
    return {"cells": seen, "seconds": took, "rate": seen / took}


def epoch_rate(epoch: Epoch, fetch: int) -> dict[str, float]:
    """Measure a whole epoch, its start included."""
    began = time.perf_counter()
    seen = sum(epoch())
    took = time.perf_counter() - began
    return {"cells": seen, "seconds": took, "rate": seen / took}


def _memory(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no {field} in /proc/self/status")
    return int(found[1]) * 1024 / MIB


def peak_memory(epoch: Epoch, fetch: int, *, fetches: int) -> dict[str, float]:
    """Return resident MiB after open, and the peak over some fetches."""
    opened = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
    for done, _ in enumerate(whole_fetches(epoch, fetch), 1):
        if done == fetches:
            break
    peak = _memory("VmHWM")
    return {"opened_mib": opened, "peak_mib": peak, "above_mib": peak - opened}


class Worker:
    """Holds what is open between commands."""

    def __init__(self) -> None:
        self.epoch: Epoch | None = None
        self.setting: Setting | None = None

    def open(self, **fields: Any) -> dict[str, float]:
        """Open the files of a setting; what was open before is let go."""
        self.epoch = None
        self.setting = Setting(**fields)
        began = time.perf_counter()
        self.epoch = contestants.CONTESTANTS[self.setting.library](self.setting)
        return {"seconds": time.perf_counter() - began}

    def convert(self, paths: list[str], folder: str) -> dict[str, float]:
        """Convert plates for annbatch."""
        began = time.perf_counter()
        convert_for_annbatch(paths, folder)
        return {"seconds": time.perf_counter() - began}

    def fill(self, paths: list[str], folder: str) -> dict[str, float]:
        """Fill a cache of this library."""
        return fill_cache(paths, folder)

    def measure(self, how: str, **limits: Any) -> dict[str, float]:
        """Measure what is open: `how` is "warm", "cold", "epoch" or "memory"."""
        if self.epoch is None or self.setting is None:
            raise ValueError("nothing is open; send `open` first")
        ways: dict[str, Callable[..., dict[str, float]]] = {
            "warm": warm_rate,
            "cold": cold_rate,
            "epoch": epoch_rate,
            "memory": peak_memory,
        }
        return ways[how](self.epoch, self.setting.fetch, **limits)


def main() -> None:
    """Answer commands from standard input until it ends."""
    # What libraries print must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        try:
            answer = {"result": getattr(worker, name)(**command)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
