"""Reads thousands of damaged files of every format, and prints what became of them.

::

    python -m tests.hostile.run --mutants 20000 --record outcomes.jsonl

Each batch of mutants is read in a process of its own, so that a crash or a hang is
counted, and ends nothing else. `small_files.py` has the files, `mutants.py` the damage.
A run that was ended goes on where it was when it is started again with its record.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
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
_BATCH = 250
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
        A mutant that takes more processor time is a hang, and so is one that waits for
        ten times as long.
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
    """Yield lines of a process until it ends, or is silent for too long."""
    assert process.stdout is not None
    output, held = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        allowed_s: float = _START_S
        while _speaks(selector, process.pid, allowed_s):
            allowed_s = limit_s
            read = os.read(output, 1 << 16)
            if not read:
                process.wait()
                return
            *lines, held = (held + read).split(b"\n")
            yield from lines


def _speaks(
    selector: selectors.DefaultSelector, process: int, allowed_s: float
) -> bool:
    """Return whether a process says something, though other work slows it down."""
    before, begun = _processor_s(process), time.monotonic()
    while not selector.select(allowed_s):
        used, waited = _processor_s(process) - before, time.monotonic() - begun
        if used > allowed_s or waited > 10 * allowed_s:
            return False
    return True


def _processor_s(process: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _last(text: str, code: int) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "what()" in line or "File" in line][:3]
    return f"exit {code}: {' | '.join(told)}"


class Record:
    """The outcomes of a run, in a file that the next run goes on with.

    Parameters
    ----------
    path
        A file of one outcome a line; None keeps them in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self.outcomes: list[Outcome] = []
        self._lock = Lock()
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.outcomes += [Outcome(**json.loads(line)) for line in lines]
        self._known = {(one.name, one.number) for one in self.outcomes}
        self._file = path.open("a") if path else None

    def lacks(self, task: tuple[str, int]) -> bool:
        """Return whether a mutant has no outcome in the file as it was found."""
        return task not in self._known

    def add(self, outcome: Outcome) -> None:
        """Keep one more."""
        with self._lock:
            self.outcomes.append(outcome)
            if self._file:
                print(json.dumps(outcome._asdict()), file=self._file, flush=True)


def run_batches(
    batches: list[list[tuple[str, int]]], record: Record, asked: argparse.Namespace
) -> None:
    """Read batches of mutants, and print after each how far the run has come."""
    total = len(record.outcomes) + sum(map(len, batches))
    with (
        tempfile.TemporaryDirectory() as temporary,
        ThreadPoolExecutor(asked.processes) as pool,
    ):
        folder = Path(temporary)
        for name in dict.fromkeys(name for batch in batches for name, _ in batch):
            write_small(name, folder)

        def read(tasks: list[tuple[str, int]]) -> str:
            name, first = tasks[0]
            place = folder / f"mutant of {name} {first}"
            for outcome in run_mutants(tasks, folder, place, limit_s=asked.limit_s):
                record.add(outcome)
            return f"{name} {first} to {tasks[-1][1]}"

        for done in as_completed([pool.submit(read, batch) for batch in batches]):
            counts = Counter(one.outcome for one in record.outcomes)
            said = ", ".join(f"{counts[o]:,} {o}" for o in OUTCOMES if counts[o])
            print(
                f"{len(record.outcomes):,} of {total:,} ({done.result()}): {said}",
                flush=True,
            )


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
    parser.add_argument(
        "--record", type=Path, help="file of outcomes; those in it are not made again"
    )
    asked = parser.parse_args()
    record = Record(asked.record)
    each = -(-asked.mutants // len(asked.formats))
    numbers = range(asked.first, asked.first + each)
    batches = [
        [(name, n) for n in numbers[start : start + _BATCH] if record.lacks((name, n))]
        for start in range(0, each, _BATCH)
        for name in asked.formats
    ]
    run_batches([batch for batch in batches if batch], record, asked)
    print_table(record.outcomes)
    for one in record.outcomes:
        if one.outcome not in GOOD:
            print(f"{one.name} {one.number}: {one.outcome}: {one.done}\n  {one.text}")


if __name__ == "__main__":
    main()
