"""Measure reading over HTTP: cells a second by the number of requests in flight.

    python object_stores.py --data FOLDER --out results

A server of its own process serves the plates of `throughput.py` on this machine, and
answers each request 50 ms late. Each setting is measured from one fetch's first batch
to a later one's. Then obstore's `get_ranges` asks for the very ranges that were asked
for meanwhile, as many at a time, and does nothing with them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import page_cache
from make_plates import folder_of, make_plates
from report import describe_machine, table

import scdataset_core as scd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scdataset_core.tools.plate_layouts import LayoutName

ROOT = Path(__file__).parents[2]
BATCH, BLOCK, FETCH = 64, 16, 64
ALONE_GOAL, RANGES_GOAL = 15.0, 0.8  # times one in flight; share of get_ranges


@dataclass(frozen=True)
class Setting:
    """What is read, and how."""

    layout: LayoutName
    compression: str
    in_flight: int
    cache: str = "none"  # "empty" and "full" name how it begins


class Server:
    """The server's process, and what it says of itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._read()
        self._processor_s = 0.0

    def report(self) -> dict[str, Any]:
        """Return what was asked for since the last report."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._read())
        before, self._processor_s = self._processor_s, found["processor_s"]
        return {**found, "processor_s": self._processor_s - before}

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def serve(folder: Path, latency_ms: float) -> Iterator[Server]:
    """Run the server of the tests in a process of its own."""
    command = [sys.executable, "-m", "tests.servers.range_server", str(folder)]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


def open_loader(urls: Sequence[str], setting: Setting, cache: Path | None) -> Any:
    """Return a loader over URLs with so many requests in flight."""
    os.environ["SCDATASET_REQUESTS"] = str(setting.in_flight)
    source = scd.open(urls, cache=cache)
    if setting.cache == "full":
        source.fill_cache()
    return scd.Loader(
        source, scd.BlockShuffling(BLOCK), batch_size=BATCH, fetch_factor=FETCH
    )


def measure(loader: Any, server: Server, seconds: float) -> dict[str, Any]:
    """Return cells, seconds and requests from one fetch's first batch to another's.

    So as much is asked for ahead of need at the end as at the beginning. Two fetches
    are read at a time, so that two are the least.
    """
    n_fetches = cells = used = 0
    begun = processor = 0.0
    batches = (batch for _ in iter(int, 1) for batch in loader)
    for number, batch in enumerate(batches):
        if number % FETCH == 0:
            if n_fetches == 1:
                server.report()
                begun, processor = time.perf_counter(), time.process_time()
                cells, used = 0, loader.stats.reading.bytes_used
            elif n_fetches > 2 and time.perf_counter() - begun >= seconds:
                break
            n_fetches += 1
        cells += len(batch["index"])
    took = time.perf_counter() - begun
    found = server.report()
    return {
        "cells": cells,
        "seconds": took,
        "rate": cells / took,
        "fetches": n_fetches - 1,
        "processors": (time.process_time() - processor) / took,
        "server_processors": found["processor_s"] / took,
        "bytes_used": loader.stats.reading.bytes_used - used,
        **{name: found[name] for name in ("requests", "n_bytes", "most_in_flight")},
        "ranges": found["ranges"],
    }


def get_ranges_rate(url: str, ranges: Sequence[Sequence[Any]], in_flight: int) -> float:
    """Return the bytes a second of `get_ranges` over the same ranges."""
    import obstore

    store = obstore.store.HTTPStore.from_url(url, client_options={"allow_http": True})

    async def ask() -> None:
        waiting = iter(ranges)

        async def go_on() -> None:
            for name, start, stop in waiting:
                await obstore.get_ranges_async(
                    store, name, starts=[start], ends=[stop], coalesce=0
                )

        await asyncio.gather(*(go_on() for _ in range(in_flight)))

    begun = time.perf_counter()
    asyncio.run(ask())
    took = time.perf_counter() - begun
    return float(sum(stop - start for _, start, stop in ranges) / took)


def run(
    setting: Setting, server: Server, names: Sequence[str], caches: Path, seconds: float
) -> dict[str, Any]:
    """Measure one setting, and get_ranges over what it asked for."""
    urls = [f"{server.url}/{name}" for name in names]
    cache = None if setting.cache == "none" else caches / setting.layout
    if setting.cache == "empty" and cache is not None:
        shutil.rmtree(cache, ignore_errors=True)
    loader = open_loader(urls, setting, cache)
    found = measure(loader, server, seconds)
    ranges = found.pop("ranges")
    if ranges:
        n_most = max(1, len(ranges) // found["fetches"]) * found["fetches"]
        found["bytes_per_s"] = found["n_bytes"] / found["seconds"]
        found["get_ranges_bytes_per_s"] = get_ranges_rate(
            server.url, ranges[:n_most], setting.in_flight
        )
        server.report()
    return {**asdict(setting), **found}


def settings_of(
    layout: LayoutName, compression: str, in_flight: Sequence[int]
) -> list[Setting]:
    """Return what is measured of the plates in one folder."""
    settings = [Setting(layout, compression, n) for n in in_flight]
    if compression != "none":
        most = in_flight[min(2, len(in_flight) - 1)]
        settings += [
            Setting(layout, compression, most, cache) for cache in ("empty", "full")
        ]
    return settings


def results_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return all results as a table in Markdown."""
    shown = []
    for row in rows:
        alone = next(
            other
            for other in rows
            if (other["layout"], other["compression"])
            == (row["layout"], row["compression"])
        )
        asked, fetches = row["n_bytes"], row["fetches"]
        ranges = row.get("get_ranges_bytes_per_s")
        used = row["bytes_used"]  # counted anew in every epoch
        of_used = f"{asked / used:.2f}" if used > 0 and asked else ""
        shown.append(
            [
                row["layout"],
                "uncompressed" if row["compression"] == "none" else "gzip",
                row["cache"],
                str(row["in_flight"]),
                f"{row['rate']:,.0f}",
                f"{row['rate'] / alone['rate']:.1f}",
                f"{asked / row['seconds'] / 1e6:,.0f}",
                f"{row['bytes_per_s'] / ranges:.0%}" if ranges else "",
                f"{row['requests'] / fetches:,.0f}",
                of_used,
                f"{row['processors']:.2f} + {row['server_processors']:.2f}",
            ]
        )
    return table(
        [
            "layout",
            "X",
            "cache",
            "in flight",
            "cells/s",
            "times one in flight",
            "MB/s",
            "of get_ranges",
            "requests a fetch",
            "asked / used",
            "processors: here + server",
        ],
        shown,
    )


def goals_reached(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line on each goal: of the best of at least 32 requests in flight."""
    kinds = dict.fromkeys((row["layout"], row["compression"], "none") for row in rows)
    for kind in kinds:
        mine = [
            row
            for row in rows
            if (row["layout"], row["compression"], row["cache"]) == kind
        ]
        alone = [row["rate"] for row in mine if row["in_flight"] == 1]
        many = [row for row in mine if row["in_flight"] >= 32 and "bytes_per_s" in row]
        if alone and many:
            ratio = max(row["rate"] for row in many) / alone[0]
            share = max(
                row["bytes_per_s"] / row["get_ranges_bytes_per_s"] for row in many
            )
            yield (
                f"{kind[0]}, {kind[1]}: {ratio:.1f} times one in flight (goal"
                f" {ALONE_GOAL:.0f}), {share:.0%} of get_ranges (goal"
                f" {RANGES_GOAL:.0%})"
            )


def main() -> None:
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("bench"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cells", type=int, default=50_000, help="in each plate")
    parser.add_argument("--plates", type=int, default=4)
    parser.add_argument("--layouts", nargs="+", default=("default", "tahoe"))
    parser.add_argument("--compression", nargs="+", default=("none", "gzip"))
    parser.add_argument("--in-flight", nargs="+", type=int, default=(1, 8, 32, 128))
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="at least")
    options = parser.parse_args()
    make_plates(
        options.data,
        n_plates=options.plates,
        n_cells=options.cells,
        n_genes=62_710,
        stored_per_cell=1_950,
        compressions=options.compression,
        seed=0,
        layouts=options.layouts,
    )
    rows: list[dict[str, Any]] = []
    caches = options.data / "remote-caches"
    for layout in options.layouts:
        for compression in options.compression:
            folder = options.data / folder_of(layout, compression)
            names = sorted(path.name for path in folder.glob("*.h5ad"))[
                : options.plates
            ]
            page_cache.load([folder / name for name in names])
            with serve(folder, options.latency_ms) as server:
                for setting in settings_of(layout, compression, options.in_flight):
                    rows.append(run(setting, server, names, caches, options.seconds))
                    print(rows[-1], file=sys.stderr, flush=True)
    print(results_table(rows))
    print(*goals_reached(rows), sep="\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        found = {"machine": describe_machine(None), "results": rows}
        path = options.out / "object_stores.json"
        path.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
