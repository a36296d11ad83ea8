"""Mutants: copies of small files in which one thing is damaged, each by its number."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Numbers at the edges of types and of memory.
_NUMBERS = [0, 1, 2, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
_NUMBERS += [2**33, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63), 3, 5, 24, 48, 1000]

# Values that no writer puts into JSON.
_VALUES: list[Any] = [None, True, -1, 0, 1, 2.5, 1e308, 2**31, 2**63, 10**30, "", "x"]
_VALUES += ["../x", "/etc/passwd", "\ud800", "é\u0000", [], {}, [[]], [-1], ["a"]]
_VALUES += ["pickle", "<f4", ">i8", "|O", "gzip", "NaN", [10**12], [0, 0, 0], {"id": 3}]


def damage(folder: Path, seed: str) -> str:
    """Damage one file of a folder, and return what was done.

    Parameters
    ----------
    folder
        The copy of a small file.
    seed
        The same seed does the same to the same folder.
    """
    rng = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = _choose(files, rng)
    said = path.relative_to(folder)
    if len(files) > 1 and rng.random() < 0.04:
        return f"{said}: {_replace_file(path, files, rng)}"
    if _is_json(path) and rng.random() < 0.8:
        return f"{said}: {_change_json(path, rng)}"
    data = bytearray(path.read_bytes())
    change = rng.choice(_CHANGES)
    what = change(data, rng)
    path.unlink()  # what has the old file mapped keeps it
    path.write_bytes(data)
    return f"{said} ({len(data)} bytes): {what}"


def _choose(files: list[Path], rng: random.Random) -> Path:
    """Return one of the files; those of metadata and those of data are as likely."""
    described = [path for path in files if _is_json(path)]
    others = [path for path in files if not _is_json(path)]
    return rng.choice(
        described if described and rng.random() < 0.5 else others or files
    )


def _is_json(path: Path) -> bool:
    return path.suffix == ".json" or path.name.startswith(".z")


def _replace_file(path: Path, files: list[Path], rng: random.Random) -> str:
    """Remove a file, put a folder in its place, or exchange it with another."""
    how = rng.choice(["remove", "folder", "exchange"])
    if how == "exchange":
        other = rng.choice(files)
        mine, its = path.read_bytes(), other.read_bytes()
        path.write_bytes(its)
        other.write_bytes(mine)
        return f"exchanged with {other.name}"
    path.unlink()
    if how == "folder":
        path.mkdir()
    return how


def _place(data: bytearray, rng: random.Random) -> int:
    """Return a place in the data: anywhere, or near its ends, where footers lie."""
    if not data:
        return 0
    where = rng.random()
    if where < 0.15:
        return rng.randrange(min(len(data), 128))
    if where < 0.4:
        return len(data) - 1 - rng.randrange(min(len(data), max(64, len(data) // 8)))
    return rng.randrange(len(data))


def _flip(data: bytearray, rng: random.Random) -> str:
    at, bit = _place(data, rng), rng.randrange(8)
    if data:
        data[at] ^= 1 << bit
    return f"bit {bit} of byte {at} flipped"


def _flip_many(data: bytearray, rng: random.Random) -> str:
    at = _place(data, rng)
    for offset in range(rng.randint(2, 16)):
        if at + offset < len(data):
            data[at + offset] = rng.randrange(256)
    return f"bytes from {at} on random"


def _zero(data: bytearray, rng: random.Random) -> str:
    size = rng.choice([1, 4, 8, 16, 64, 512, 4096])
    at = _place(data, rng) // size * size
    stop = min(len(data), at + size)
    data[at:stop] = bytes(stop - at)
    return f"bytes {at} to {stop} zeroed"


def _number(data: bytearray, rng: random.Random) -> str:
    size = rng.choice([1, 2, 4, 8])
    at = _place(data, rng) // size * size
    number = rng.choice(_NUMBERS)
    if at + size <= len(data):
        data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return f"number of {size} bytes at {at} is {number}"


def _step(data: bytearray, rng: random.Random) -> str:
    at, step = _place(data, rng), rng.choice([-8, -2, -1, 1, 2, 8])
    if data:
        data[at] = (data[at] + step) % 256
    return f"byte {at} changed by {step}"


def _cut(data: bytearray, rng: random.Random) -> str:
    at = _place(data, rng)
    del data[at:]
    return f"cut at {at}"


def _remove(data: bytearray, rng: random.Random) -> str:
    at, size = _place(data, rng), rng.choice([1, 4, 8, 64, 512])
    del data[at : at + size]
    return f"{size} bytes removed at {at}"


def _insert(data: bytearray, rng: random.Random) -> str:
    at, size = _place(data, rng), rng.choice([1, 4, 8, 64, 512])
    data[at:at] = rng.randbytes(size)
    return f"{size} bytes put in at {at}"


def _swap(data: bytearray, rng: random.Random) -> str:
    size = rng.choice([1, 4, 8, 64])
    one, other = _place(data, rng) // size * size, _place(data, rng) // size * size
    mine, its = data[one : one + size], data[other : other + size]
    if len(mine) == len(its):
        data[one : one + size], data[other : other + size] = its, mine
    return f"{size} bytes at {one} and {other} exchanged"


def _extend(data: bytearray, rng: random.Random) -> str:
    size = rng.choice([1, 8, 512, 4096])
    data += bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
    return f"{size} bytes put at the end"


_CHANGES: list[Callable[[bytearray, random.Random], str]] = [
    _flip, _flip, _flip_many, _zero, _zero, _number, _number, _number,
    _step, _cut, _remove, _insert, _swap, _extend,
]  # fmt: skip


def _change_json(path: Path, rng: random.Random) -> str:
    """Replace one value of a JSON file, take it out, or copy it over another."""
    try:
        held = json.loads(path.read_bytes())
    except ValueError:
        held = {}
    spots = _spots(held) if isinstance(held, dict | list) else []
    if not spots:
        path.write_text(json.dumps(rng.choice(_VALUES)))
        return "another value in place of all"
    parent, key = rng.choice(spots)
    how = rng.random()
    if how < 0.15:
        del parent[key]
        said = f"{key!r} taken out"
    elif how < 0.3:
        other, its = rng.choice(spots)
        parent[key] = json.loads(json.dumps(other[its]))
        said = f"{key!r} is a copy of {its!r}"
    elif how < 0.45 and isinstance(parent[key], int):
        parent[key] += rng.choice([-1, 1, 7, -parent[key], 10**9])
        said = f"{key!r} is {parent[key]}"
    else:
        parent[key] = rng.choice(_VALUES)
        said = f"{key!r} is {parent[key]!r}"
    path.write_text(json.dumps(held))
    return said


def _spots(held: Any) -> "list[tuple[Any, Any]]":
    """Return each place of a JSON value: what holds it, and its key there."""
    found: list[tuple[Any, Any]] = []
    keys = held.keys() if isinstance(held, dict) else range(len(held))
    for key in keys:
        found.append((held, key))
        if isinstance(held[key], dict | list):
            found.extend(_spots(held[key]))
    return found


def copy_damaged(small: Path, place: Path, seed: str) -> str:
    """Put a damaged copy of a small file at `place`, and return what was done."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(small, place)
    return damage(place, seed)
