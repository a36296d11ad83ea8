"""Reads thousands of damaged files of every format, and prints what became of them.

::

    python -m tests.hostile.run --mutants 20000

Each batch of mutants is read in a process of its own, so that a crash or a hang is
counted, and ends nothing else. `small_files.py` has the files, `mutants.py` the damage.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.hostile.small_files import SMALL_FILES, write_small

OUTCOMES = [
    "right",
    "clear error",
    "as stored",
    "other values",
    "wrong rows",
    "other exception",
    "crash",
    "hang",
    "memory",
]
GOOD = {"right", "clear error", "as stored"}
_START_S = 120  # to import the libraries, on a busy machine
ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What became of one mutant."""

    name: str
    number: int
    outcome: str
    done: str
    text: str


def run_mutants(
    tasks: Iterable[tuple[str, int]], folder: Path, place: Path, *, limit_s: float = 20
) -> Iterator[Outcome]:
    """Yield what becomes of each mutant; those after a crash or hang are read too.

    Parameters
    ----------
    tasks
        The format and the number of each.
    folder
        The small files.
    place
        Where the mutants are put, one after another.
    limit_s
        A mutant that takes longer is a hang.
    """
    left = list(tasks)
    while left:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.hostile.reading",
                    str(folder),
                    str(place),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": paths},
            ) as process,
        ):
            assert process.stdin is not None
            process.stdin.write("".join(f"{n} {name}\n" for name, n in left).encode())
            process.stdin.close()
            said: dict[str, Any] = {}
            for line in _lines(process, limit_s):
                said = {**said, **json.loads(line)}
                if "ends" in said:
                    name, number = left.pop(0)
                    yield Outcome(
                        name, number, said["outcome"], said["done"], said["text"]
                    )
                    said = {}
            hangs = process.poll() is None
            process.kill()
            code = process.wait()
            errors.seek(0)
            text = errors.read().decode(errors="replace")
        if left and "begins" not in said:
            raise RuntimeError(f"{left[0]}: the reader ended with {code}: {text}")
        if left:
            name, number = left.pop(0)
            outcome = "hang" if hangs else "crash"
            why = _last(text, code)
            if "compares" in said:  # it was the library to compare with
                outcome, why = "other values", f"its library: {outcome}"
            yield Outcome(name, number, outcome, said["done"], why)


def _lines(process: "subprocess.Popen[bytes]", limit_s: float) -> Iterator[bytes]:
    """Yield lines of a process until it ends, or says nothing for `limit_s`."""
    assert process.stdout is not None
    output, held = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        wait_s: float = _START_S
        while selector.select(wait_s):
            wait_s = limit_s
            read = os.read(output, 1 << 16)
            if not read:
                process.wait()
                return
            *lines, held = (held + read).split(b"\n")
            yield from lines


def _last(text: str, code: int) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "what()" in line or "File" in line][:3]
    return f"exit {code}: {' | '.join(told)}"


def _share(name: str, folder: Path, numbers: range, limit_s: float) -> list[Outcome]:
    place = folder / f"mutant of {name} {numbers.start}"
    tasks = [(name, number) for number in numbers]
    return list(run_mutants(tasks, folder, place, limit_s=limit_s))


def print_table(outcomes: list[Outcome]) -> None:
    """Print the number of mutants of each format and outcome."""
    counts = Counter((one.name, one.outcome) for one in outcomes)
    names = list(dict.fromkeys(one.name for one in outcomes))
    shown = [o for o in OUTCOMES if any(counts[name, o] for name in names)]
    print(f"{'':14}" + "".join(f"{outcome:>16}" for outcome in shown))
    for name in names:
        print(f"{name:14}" + "".join(f"{counts[name, o]:16,}" for o in shown))
    sums = [sum(counts[name, o] for name in names) for o in shown]
    print(f"{'together':14}" + "".join(f"{n:16,}" for n in sums))


def main() -> None:
    """Read the mutants, and print the table and each that fell short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--formats", nargs="*", default=list(SMALL_FILES))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit-s", type=float, default=20, help="longer is a hang")
    asked = parser.parse_args()
    each = -(-asked.mutants // len(asked.formats))
    batch = min(each, 250)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(asked.processes) as pool,
    ):
        for name in asked.formats:
            write_small(name, Path(folder))
        stop = asked.first + each
        shares = [
            pool.submit(
                _share,
                name,
                Path(folder),
                range(start, min(start + batch, stop)),
                asked.limit_s,
            )
            for name in asked.formats
            for start in range(asked.first, stop, batch)
        ]
        outcomes = [outcome for share in shares for outcome in share.result()]
    print_table(outcomes)
    for one in outcomes:
        if one.outcome not in GOOD:
            print(f"{one.name} {one.number}: {one.outcome}: {one.done}\n  {one.text}")


if __name__ == "__main__":
    main()
