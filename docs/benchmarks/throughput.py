"""Measure this library beside scdataset, AnnLoader and annbatch, in one run.

    python throughput.py --data FOLDER --annbatch-python ENV/bin/python --out results

The script makes the plates and annbatch's converted copy of them in FOLDER if they are
not there (17 GB in three layouts, with the caches; `--scaling` makes another 9 GB). All
libraries read the same cells, in turn, in processes that live for the whole run.
annbatch reads one converted copy, whatever the layout of the files is. Before a warm
measurement every file is read once, and before a cold one its pages are dropped. Then
the script checks what is in memory.

Compressed files are read without a chunk cache, and with one: later epochs, which find
it full and checked, the whole first epoch of a new process, which finds it full, and
the whole first epoch of all, which finds it empty.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import page_cache
from cases import (
    CACHED,
    CASES,
    FETCH_BYTES,
    FIRST_EPOCH,
    LIMIT,
    LIMIT_TO_MEMORY,
    NEW_PROCESS,
    OURS,
    UNCOMPRESSED,
    VARIANTS,
    Case,
)
from contestants import CONTESTANTS, Setting
from limits import limit_rate
from make_plates import folder_of, make_plates
from pool import WorkerPool
from report import describe_machine, write_report
from scaling import measure_memory, measure_scaling

from scdataset_core.tools.plate_layouts import LAYOUTS, LayoutName

LIMITS = {LIMIT: 0, LIMIT_TO_MEMORY: FETCH_BYTES}  # bytes of a thread's buffer
CACHE_STATES = {CACHED: "checked", NEW_PROCESS: "full", FIRST_EPOCH: "empty"}
WARM_SHARE = 0.999
COLD_SHARE = 0.01


@dataclass(frozen=True)
class Data:
    """The files of a run."""

    folder: Path

    def plates(
        self, compression: str, layout: LayoutName = "default"
    ) -> tuple[str, ...]:
        """Return the plates of a compression, "none" or "gzip", in a layout."""
        home = self.folder / folder_of(layout, compression)
        return tuple(map(str, sorted(home.glob("*.h5ad"))))

    def cache(self, layout: LayoutName, library: str = CACHED) -> str:
        """Return the folder of the cache of a layout; first epochs empty their own."""
        kept = "first-epoch-caches" if library == FIRST_EPOCH else "caches"
        return str(self.folder / kept / layout)

    @property
    def converted(self) -> Path:
        """Where annbatch's collection lies."""
        return self.folder / "annbatch.zarr"

    def paths(self, library: str, case: Case) -> tuple[str, ...]:
        """Return what `library` opens."""
        if library == "annbatch":
            return (str(self.converted),)
        compression = "none" if library == UNCOMPRESSED else case.compression
        return self.plates(compression, case.layout)

    def setting(self, library: str, case: Case) -> Setting:
        """Return what the worker of `library` opens, and how."""
        ours = library in (OURS, *VARIANTS)
        return Setting(
            OURS if ours else library,
            self.paths(library, case),
            case.block if ours else case.rival_block,
            case.fetch,
            case.genes,
            self.cache(case.layout, library) if library in CACHE_STATES else "",
            CACHE_STATES.get(library, ""),
        )


def prepare(
    data: Data,
    pool: WorkerPool,
    cases: Sequence[Case],
    n_cells: int,
    *,
    scaling: bool = False,
) -> None:
    """Make what is missing of the plates and of annbatch's copy."""
    needed: dict[LayoutName, set[str]] = {}
    if scaling:  # it compares larger and more files with these
        needed["default"] = {"none", "gzip"}
    for case in cases:
        compressions = needed.setdefault(case.layout, set())
        compressions.add(case.compression)
        if UNCOMPRESSED in case.variants:
            compressions.add("none")
    convert = pool.has("annbatch") and not data.converted.exists()
    if convert:
        needed.setdefault("default", set()).add("none")
    for layout, compressions in needed.items():
        make_plates(
            data.folder,
            n_plates=4,
            n_cells=n_cells,
            n_genes=62_710,
            stored_per_cell=1_950,
            compressions=sorted(compressions),
            seed=0,
            layouts=[layout],
        )
    if convert:
        with pool.fresh("annbatch") as worker:
            worker.ask("convert", paths=data.plates("none"), folder=str(data.converted))


def measure_caches(
    data: Data, pool: WorkerPool, layouts: Iterable[LayoutName]
) -> list[dict[str, object]]:
    """Fill the cache of each layout anew, and return what that took."""
    rows: list[dict[str, object]] = []
    for layout in layouts:
        paths = data.plates("gzip", layout)
        set_cache(paths, cold=False)
        with pool.fresh(OURS) as worker:
            found = worker.ask("fill", paths=paths, folder=data.cache(layout))
        plain = sum(Path(path).stat().st_size for path in data.plates("none", layout))
        rows.append({"layout": layout, **found, "uncompressed_bytes": plain})
        print(f"cache of {layout}: {found}", flush=True)
    return rows


def set_cache(paths: tuple[str, ...], *, cold: bool) -> float:
    """Bring the page cache to the state wanted; return the share that lies in it."""
    if cold:
        for _ in range(3):  # a read-ahead under way may bring some back
            page_cache.drop(paths)
            share = page_cache.resident_share(paths)
            if share <= COLD_SHARE:
                return share
        raise RuntimeError(f"{share:.0%} of the pages stayed in memory after a drop")
    for _ in range(3):
        page_cache.load(paths)
        share = page_cache.resident_share(paths)
        if share >= WARM_SHARE:
            break
    return share


def measure(
    case: Case, library: str, data: Data, pool: WorkerPool, *, seconds: float
) -> dict[str, float]:
    """Measure one library, or the limit, once."""
    os.sync()  # nothing that was written before is on its way to the disk
    if library in LIMITS:
        paths = data.paths(library, case)
        set_cache(paths, cold=False)
        return limit_rate(paths, buffer_bytes=LIMITS[library])
    setting = data.setting(library, case)
    worker = pool[setting.library]
    opened = worker.open(setting)
    full = setting.state in ("full", "checked")
    read = (*setting.paths, setting.cache) if full else setting.paths
    share = set_cache(read, cold=case.cold)
    if case.cold:
        result = worker.ask("measure", how="cold", cells=case.cold_cells)
    elif library in (FIRST_EPOCH, NEW_PROCESS):
        result = worker.ask("measure", how="epoch")
    else:
        result = worker.ask("measure", how="warm", seconds=seconds)
    return {**result, "open_s": opened, "resident": share}


def run(
    cases: list[Case],
    data: Data,
    pool: WorkerPool,
    *,
    libraries: set[str],
    seconds: float,
    repeats: int,
) -> Iterator[dict[str, object]]:
    """Measure every case `repeats` times; the order of the libraries turns."""
    for repeat in range(repeats):
        for case in cases:
            limits = () if case.cold or case.genes else LIMITS
            names = [OURS, *case.variants, *case.rivals, *limits]
            names = [name for name in names if name in libraries and pool.has(name)]
            turn = repeat % max(len(names), 1)
            for library in names[turn:] + names[:turn]:
                result = measure(case, library, data, pool, seconds=seconds)
                rate = result["rate"]
                print(
                    f"{repeat} {case.name}: {library} {rate:,.0f} cells/s", flush=True
                )
                yield {
                    "case": case.name,
                    "library": library,
                    "repeat": repeat,
                    **result,
                }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder for the files")
    parser.add_argument(
        "--annbatch-python",
        help="interpreter (3.12 or later) of an environment with annbatch and zarrs;"
        " without it annbatch is left out",
    )
    parser.add_argument("--cells", type=int, default=50_000, help="of a plate")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="run the cases whose name holds this text")
    parser.add_argument(
        "--layouts", nargs="+", choices=tuple(LAYOUTS), default=tuple(LAYOUTS)
    )
    everyone = (*CONTESTANTS, *VARIANTS, *LIMITS)
    parser.add_argument(
        "--libraries", nargs="+", choices=everyone, default=everyone, metavar="NAME"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="also larger, more files"
    )
    parser.add_argument("--memory", action="store_true", help="also peak memory")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the results"
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and write `results.json` and `results.md`."""
    options = arguments()
    data = Data(options.data)
    pool = WorkerPool(options.annbatch_python)
    results: dict[str, object] = {"machine": describe_machine(options.annbatch_python)}
    try:
        cases = [
            case
            for case in CASES
            if (options.only or "") in case.name and case.layout in options.layouts
        ]
        prepare(data, pool, cases, options.cells, scaling=options.scaling)
        results["settings"] = {"seconds": options.seconds}
        results["throughput"] = list(
            run(
                cases,
                data,
                pool,
                libraries=set(options.libraries),
                seconds=options.seconds,
                repeats=options.repeats,
            )
        )
        with_caches = [case.layout for case in cases if CACHED in case.variants]
        if CACHED in options.libraries:
            layouts = dict.fromkeys(with_caches)
            results["caches"] = measure_caches(data, pool, layouts)
        if options.memory:
            folders = {
                folder_of(case.layout, case.compression): data.plates(
                    case.compression, case.layout
                )
                for case in cases
            }
            results["memory"] = measure_memory(folders, pool)
        if options.scaling:
            results["scaling"] = measure_scaling(
                options.data,
                pool,
                seconds=options.seconds,
                repeats=options.repeats,
                scale=options.cells / 50_000,
            )
    finally:
        pool.close()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    write_report(results, options.out / "results.md")
    print((options.out / "results.md").read_text())


if __name__ == "__main__":
    main()
