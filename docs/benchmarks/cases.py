"""The cases that the throughput benchmark measures, and the goals of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scdataset_core.tools.plate_layouts import LAYOUTS

if TYPE_CHECKING:
    from scdataset_core.tools.plate_layouts import LayoutName

OURS = "scdataset-core"
CACHED = f"{OURS}, cache full"  # whose chunks were checked, as in a second epoch
NEW_PROCESS = f"{OURS}, cache full, new process"  # which checks them as it reads them
FIRST_EPOCH = f"{OURS}, first epoch"  # on an empty cache
UNCOMPRESSED = f"{OURS}, uncompressed"  # the same cells in files without compression
VARIANTS = (CACHED, NEW_PROCESS, FIRST_EPOCH, UNCOMPRESSED)
LIMIT = "limit"
LIMIT_TO_MEMORY = "limit, to memory"
FETCH_BYTES = 64 << 20  # about a fetch of 64 minibatches of 64 cells
# Rows of the others' blocks where this library aligns blocks to two chunks.
STORAGE_BLOCKS: dict[LayoutName, int] = {"default": 24, "tahoe": 128, "cellxgene": 16}


@dataclass(frozen=True)
class Goal:
    """How many times as fast as another one of the two should be."""

    other: str  # a rival, this library in another way, or the limit
    least: float
    ours: str = OURS


@dataclass(frozen=True)
class Case:
    """One row of the tables: the files, the sizes, the libraries, and the goals."""

    compression: str  # "none" or "gzip"
    block: int | str  # "storage": two whole chunks
    fetch: int
    rivals: tuple[str, ...] = ("scdataset", "scdataset-anndata", "annbatch")
    cold: bool = False
    cold_cells: int = 65_536  # read from a cold disk in a measurement
    genes: int = 0
    goals: tuple[Goal, ...] = ()
    layout: LayoutName = "default"
    variants: tuple[str, ...] = ()  # other ways in which this library reads the cells

    @property
    def name(self) -> str:
        """Words that tell this case from the others."""
        words = "uncompressed" if self.compression == "none" else "gzip"
        layout = "" if self.layout == "default" else f"{self.layout} "
        block = f"b={self.block}"
        dense = f", {self.genes:,} genes dense" if self.genes else ""
        how = "cold" if self.cold else "warm"
        return f"{layout}{words}, {block} f={self.fetch}{dense}, {how}"

    @property
    def rival_block(self) -> int:
        """The block size that libraries without storage-aligned blocks run with."""
        return (
            STORAGE_BLOCKS[self.layout] if isinstance(self.block, str) else self.block
        )


def _rival_goals(*least: float | None) -> tuple[Goal, ...]:
    """Return goals against scdataset, annbatch and the limit."""
    aims = zip(("scdataset", "annbatch", LIMIT), least, strict=False)
    return tuple(Goal(name, ratio) for name, ratio in aims if ratio is not None)


def _warm(
    compression: str,
    block: int | str,
    fetch: int,
    goals: tuple[Goal, ...] = (),
    *,
    layout: LayoutName = "default",
) -> Case:
    """Return a warm case; gzip files are read with a cache, too."""
    rivals: tuple[str, ...] = Case.rivals
    if layout != "default":
        rivals = ("scdataset", "annbatch")
    elif (block, fetch) == (1, 1):
        rivals = (*rivals, "AnnLoader")
    variants: tuple[str, ...] = ()
    if compression == "gzip":
        variants = (CACHED, NEW_PROCESS, FIRST_EPOCH) if fetch == 64 else (CACHED,)
    return Case(
        compression,
        block,
        fetch,
        rivals,
        goals=goals,
        layout=layout,
        variants=variants,
    )


def _cold(
    compression: str, goals: tuple[Goal, ...] = (), *, layout: LayoutName = "default"
) -> Case:
    """Return the case of b=16 f=64 from a cold disk."""
    return Case(
        compression,
        16,
        64,
        ("scdataset", "annbatch"),
        cold=True,
        goals=goals,
        layout=layout,
        variants=(CACHED, NEW_PROCESS, UNCOMPRESSED) if compression == "gzip" else (),
    )


def _cached(
    ours: float, annbatch: float | None = None, first: float | None = None
) -> tuple[Goal, ...]:
    """Return goals of a full cache, and of the first epoch on an empty one."""
    goals = [Goal(OURS, ours, CACHED)]
    if annbatch is not None:
        goals.append(Goal("annbatch", annbatch, CACHED))
    if first is not None:
        goals.append(Goal(OURS, first, FIRST_EPOCH))
    return tuple(goals)


# Against this library without a cache, at b=16 f=64: full cache, and first epoch.
_REAL_LAYOUTS = {"tahoe": (15, 3), "cellxgene": (6, None)}


def _cases_of_layout(layout: LayoutName) -> tuple[Case, ...]:
    """Return the cases of a layout of real files."""
    full, first = _REAL_LAYOUTS[layout]
    return (
        *(_warm("none", b, f, layout=layout) for b, f in ((1, 1), (16, 64), (64, 64))),
        _warm("gzip", 1, 1, layout=layout),
        _warm("gzip", 16, 64, _cached(full, None, first), layout=layout),
        _warm("gzip", 64, 64, layout=layout),
        _warm("gzip", "storage", 64, layout=layout),
        _cold("none", layout=layout),
        _cold("gzip", (Goal(UNCOMPRESSED, 1.8, CACHED),), layout=layout),
    )


CASES: tuple[Case, ...] = (
    _warm("none", 1, 1, _rival_goals(7.5, 15)),
    _warm("none", 4, 16),
    _warm("none", 16, 16, _rival_goals(7, 6)),
    _warm("none", 16, 64, _rival_goals(7, 5.8, 0.35)),
    _warm("none", 64, 64),
    _warm("none", "storage", 64),
    _warm("gzip", 1, 1, _cached(9, 15)),
    _warm("gzip", 4, 16),
    _warm("gzip", 16, 16),
    _warm("gzip", 16, 64, (*_rival_goals(5.6, 1.5, 0.5), *_cached(6, 5, 1.2))),
    _warm("gzip", 64, 64, (*_rival_goals(6, 1.2, 0.65), *_cached(5, 2.8))),
    _warm("gzip", "storage", 64, _rival_goals(6.5, 1.6, 0.6)),
    Case(
        "gzip",
        16,
        64,
        ("scdataset",),
        genes=2_000,
        goals=_rival_goals(5),
        variants=(CACHED,),
    ),
    _cold("none", _rival_goals(4, 1.2)),
    _cold("gzip", (*_rival_goals(3, 1), Goal(UNCOMPRESSED, 1.8, CACHED))),
    *(
        Case(compression, 1, 1, ("AnnLoader",), cold=True, cold_cells=4_096)
        for compression in ("none", "gzip")
    ),
    *(
        case
        for layout in LAYOUTS
        if layout != "default"
        for case in _cases_of_layout(layout)
    ),
)
