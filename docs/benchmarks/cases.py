"""The cases that the throughput benchmark measures, and the goal of each."""

from __future__ import annotations

from dataclasses import dataclass, field

OURS = "scdataset-core"
LIMIT = "limit"
LIMIT_TO_MEMORY = "limit, to memory"
FETCH_BYTES = 64 << 20  # about a fetch of 64 minibatches of 64 cells
STORAGE_BLOCK = 24  # rows the others use where this library aligns blocks to chunks


@dataclass(frozen=True)
class Case:
    """One row of the tables: the files, the sizes, the libraries, and the goals."""

    compression: str  # "none" or "gzip"
    block: int | str  # "storage": two whole chunks, about 24 cells
    fetch: int
    rivals: tuple[str, ...] = ("scdataset", "scdataset-anndata", "annbatch")
    cold: bool = False
    cold_cells: int = 65_536  # read from a cold disk in a measurement
    genes: int = 0
    goals: dict[str, float] = field(default_factory=dict)  # rival or limit: ratio

    @property
    def name(self) -> str:
        """Words that tell this case from the others."""
        words = "uncompressed" if self.compression == "none" else "gzip"
        block = f"b={self.block}"
        dense = f", {self.genes:,} genes dense" if self.genes else ""
        return (
            f"{words}, {block} f={self.fetch}{dense}, {'cold' if self.cold else 'warm'}"
        )

    @property
    def rival_block(self) -> int:
        """The block size that libraries without storage-aligned blocks run with."""
        return STORAGE_BLOCK if isinstance(self.block, str) else self.block


def _warm(compression: str, block: int | str, fetch: int, *goals: float | None) -> Case:
    """Return a warm case with goals against scdataset, annbatch and the limit."""
    aims = zip(("scdataset", "annbatch", LIMIT), goals, strict=False)
    rivals = Case.rivals
    if (block, fetch) == (1, 1):
        rivals = (*rivals, "AnnLoader")
    wanted = {name: goal for name, goal in aims if goal is not None}
    return Case(compression, block, fetch, rivals, goals=wanted)


CASES: tuple[Case, ...] = (
    _warm("none", 1, 1, 7.5, 15),
    _warm("none", 4, 16),
    _warm("none", 16, 16, 7, 6),
    _warm("none", 16, 64, 7, 5.8, 0.35),
    _warm("none", 64, 64),
    _warm("none", "storage", 64),
    _warm("gzip", 1, 1),
    _warm("gzip", 4, 16),
    _warm("gzip", 16, 16),
    _warm("gzip", 16, 64, 5.6, 1.5, 0.5),
    _warm("gzip", 64, 64, 6, 1.2, 0.65),
    _warm("gzip", "storage", 64, 6.5, 1.6, 0.6),
    Case("gzip", 16, 64, ("scdataset",), genes=2_000, goals={"scdataset": 5}),
    Case(
        "none",
        16,
        64,
        ("scdataset", "annbatch"),
        cold=True,
        goals={"scdataset": 4, "annbatch": 1.2},
    ),
    Case(
        "gzip",
        16,
        64,
        ("scdataset", "annbatch"),
        cold=True,
        goals={"scdataset": 3, "annbatch": 1},
    ),
    *(
        Case(compression, 1, 1, ("AnnLoader",), cold=True, cold_cells=4_096)
        for compression in ("none", "gzip")
    ),
)
