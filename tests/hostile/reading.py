"""Reads mutants in a process of its own, and prints what became of each.

Called as ``python -m tests.hostile.reading FOLDER PLACE``: the small files lie in the
folder, mutants are put at the place, and the input has the number and the format of one
in each line.
"""

import json
import os
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import scdataset_core as scd
from tests.hostile.libraries import LIBRARIES
from tests.hostile.mutants import copy_damaged
from tests.hostile.small_files import SMALL_FILES

GIB = 1 << 30
_MOST = 1000  # rows that are read of a file that says it has more


def read_cells(path: Path, options: dict[str, Any]) -> Any:
    """Return all that a file gives, as values that compare with ``==``."""
    source = scd.open(path, **options)
    loader = scd.Loader(
        source, scd.BlockShuffling(4), batch_size=5, fetch_factor=2, seed=1
    )
    found = {}
    n = min(len(source), _MOST)
    names = source.read(np.arange(n)).names
    for batch in loader:
        parts = batch["X"] if isinstance(batch["X"], dict) else {"": batch["X"]}
        for at, row in enumerate(batch["index"].tolist()):
            x = [_row(part, at) for part in parts.values()]
            name = None if names is None or row >= n else str(names[row])
            found[row] = (name, x, _labels(source, batch, at))
        if len(found) > _MOST:
            break
    genes = {part: list(map(str, own)) for part, own in _genes(source).items()}
    return genes, found


def _row(x: Any, at: int) -> list[str]:
    row = x[at] if isinstance(x, np.ndarray) else x[[at]].toarray()[0]
    return [str(value) for value in row.tolist()]  # text, for which NaN equals NaN


def _genes(source: Any) -> dict[str, Any]:
    if isinstance(source.var_names, dict):
        return source.var_names
    return {"": source.var_names}


def _labels(source: Any, batch: Any, at: int) -> dict[str, str]:
    found = {}
    for name, values in batch.get("obs", {}).items():
        labels = source.categories.get(name)
        value = values[at]
        if labels is not None:
            value = None if value < 0 else labels[value]
        found[name] = str(value)
    return found


def judge(path: Path, options: dict[str, Any], right: Any) -> tuple[str, str]:
    """Return what becomes of reading a file, and the text of its error."""
    try:
        read = read_cells(path, options)
    except scd.ScdatasetError as error:
        return "clear error", f"{type(error).__name__}: {error}"
    except MemoryError as error:
        return "memory", f"MemoryError: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "other exception", _describe(error)
    if read == right:
        return "right", ""
    lacking = set(_columns(right)) - set(_columns(read))
    if lacking and read == _without(right, lacking):
        return "clear error", f"left out: {', '.join(sorted(lacking))}"
    return "other values", _difference(read, right)


def compare(name: str, path: Path, options: dict[str, Any]) -> tuple[str, str]:
    """Return whether other values are what the library of the format reads."""
    if name not in LIBRARIES:
        return "other values", ""
    read = read_cells(path, options)
    of_objects = {key: value for key, value in options.items() if key != "isolated"}
    try:
        told = read_cells(LIBRARIES[name](path), of_objects)
    except Exception as error:
        return "wrong rows", f"its library says: {_describe(error)}"
    lacking = set(_columns(told)) - set(_columns(read))
    if read == _without(told, lacking):
        return "as stored", ""
    return "wrong rows", f"not as its library reads: {_difference(read, told)}"


def _columns(read: Any) -> list[str]:
    return [name for _, _, labels in read[1].values() for name in labels]


def _without(read: Any, columns: set[str]) -> Any:
    """Return what was read, without some columns of obs."""
    genes, rows = read
    return genes, {
        row: (name, x, {k: v for k, v in labels.items() if k not in columns})
        for row, (name, x, labels) in rows.items()
    }


def _difference(read: Any, other: Any) -> str:
    """Return the first thing that is not alike, for a reader."""
    if read[0] != other[0]:
        return f"genes {read[0]} and {other[0]}"[:200]
    if read[1].keys() != other[1].keys():
        return f"{len(read[1])} and {len(other[1])} rows"
    row = next(row for row in read[1] if read[1][row] != other[1][row])
    return f"row {row}: {read[1][row]} and {other[1][row]}"[:300]


def _describe(error: BaseException) -> str:
    import traceback

    last = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in last if "scdataset_core" in frame.filename]
    frame = (own or last)[-1]
    return (
        f"{type(error).__name__}: {error} (in {Path(frame.filename).name}:"
        f" {frame.name}, line {frame.lineno})"
    )


def _peak() -> int:
    """Return the most memory that this process has held since `_forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Read the mutants that the input names, and print what became of each."""
    folder, place = Path(sys.argv[1]), Path(sys.argv[2])
    warnings.simplefilter("ignore")
    os.environ["TMPDIR"] = str(folder)  # for what the libraries write to compare with
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    right: dict[str, Any] = {}
    for line in sys.stdin:
        number, name = line.rstrip("\n").split(" ", 1)
        own, small = SMALL_FILES[name], folder / name.replace(" ", "_")
        if name not in right:
            _limit_memory()
            right[name] = read_cells(small / own.name, own.options)
            _say(ready=name)
        _limit_memory()
        _forget_peak()
        before = _peak()
        done = copy_damaged(small, place, f"{name} {number}")
        _say(begins=int(number), done=done)
        outcome, text = judge(place / own.name, own.options, right[name])
        if _peak() - before > GIB:
            outcome, text = "memory", f"{(_peak() - before) >> 20} MiB; {text}"
        if outcome == "other values":
            _say(compares=int(number))
            outcome, why = compare(name, place / own.name, own.options)
            text = f"{text} {why}".strip()
        _say(ends=int(number), name=name, outcome=outcome, text=text)
    os._exit(0)  # threads that a library left behind are not waited for


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _limit_memory() -> None:
    """Let nothing allocate more than a few GiB, which would hurt the machine."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (held + 6 * GIB, hard))


if __name__ == "__main__":
    main()
