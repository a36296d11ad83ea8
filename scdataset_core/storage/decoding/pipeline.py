"""Pipelines of filters, which chunks went through, and how to undo them."""

from dataclasses import dataclass

from ..io.scratch_memory import Scratch
from .blosc import decode_blosc_range
from .deflate import InflateError, choose_inflater
from .filters import (
    CHECKSUM_BYTES,
    DEFLATE,
    FLETCHER32,
    Buffer,
    CodecError,
    Filter,
    decode_blosc,
)
from .registry import find_decoder, missing_install

__all__ = ["Pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """The filters that chunks went through when they were written, in that order.

    Parameters
    ----------
    filters
        The filters; none: chunks are stored as they are.
    """

    filters: tuple[Filter, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.filters)

    def __str__(self) -> str:
        return " + ".join(map(str, self.filters)) or "not compressed"

    @property
    def unknown(self) -> Filter | None:
        """The first filter that nothing here decodes."""
        for step in self.filters:
            if step.code == DEFLATE:
                continue
            if find_decoder(step) is None or missing_install(step) is not None:
                return step
        return None

    @property
    def is_deflate(self) -> bool:
        """Whether the one filter is deflate, so that chunks decode from their start."""
        return len(self.filters) == 1 and self.filters[0].code == DEFLATE

    @property
    def decodes_parts(self) -> bool:
        """Whether only parts of a chunk may be decoded: its one filter is blosc."""
        return len(self.filters) == 1 and find_decoder(self.filters[0]) is decode_blosc

    @property
    def _blosc_item_bytes(self) -> int:
        values = self.filters[0].values
        return values[2] if len(values) > 2 else 0

    def decode(
        self,
        scratch: Scratch,
        start: int,
        size: int,
        *,
        n_bytes: int,
        want: int,
        unwanted: int = 0,
        skipped: int = 0,
    ) -> Buffer:
        """Decode a chunk that lies in scratch memory.

        Parameters
        ----------
        scratch
            The calling thread's memory; the result may lie in it until the next call.
        start, size
            The chunk is ``scratch.packed[start : start + size]``.
        n_bytes
            Size that the chunk must decode to.
        want
            How many bytes of its beginning are wanted.
        unwanted
            How many of these, the first ones, are not.
        skipped
            Bits of the filters that were skipped when the chunk was written.

        Returns
        -------
        plain
            At least the first `want` bytes; the unwanted ones may be anything.

        Raises
        ------
        CodecError
            If the chunk is damaged, or is of another size than declared.
        """
        try:
            if skipped == 0 and self.is_deflate:
                return choose_inflater()(scratch, start, size, n_bytes)
            if skipped == 0 and self.decodes_parts and want > unwanted:
                part = decode_blosc_range(
                    scratch,
                    start,
                    size,
                    low=unwanted,
                    high=want,
                    n_bytes=n_bytes,
                    item_bytes=self._blosc_item_bytes,
                )
                if part is not None:
                    return part
            return self._undo(scratch, start, size, n_bytes, skipped)
        except InflateError as error:
            raise CodecError(str(error)) from error

    def _undo(
        self, scratch: Scratch, start: int, size: int, n_bytes: int, skipped: int
    ) -> Buffer:
        """Undo all filters, the last one first."""
        steps = [s for bit, s in enumerate(self.filters) if not skipped >> bit & 1]
        data: Buffer = scratch.packed[start : start + size]
        while steps:
            step = steps.pop()
            checksums = sum(other.code == FLETCHER32 for other in steps)
            expected = n_bytes + CHECKSUM_BYTES * checksums
            if step.code == DEFLATE:
                data = _inflate(scratch, data, expected)
            else:
                decode = find_decoder(step)
                if decode is None:
                    raise CodecError(f"nothing here decodes {step}")
                data = decode(data, expected, step)
        if len(data) != n_bytes:
            raise CodecError(f"it has {len(data)} bytes where {n_bytes} were declared")
        return data


def _inflate(scratch: Scratch, data: Buffer, n_bytes: int) -> Buffer:
    """Inflate bytes that may lie in scratch memory or elsewhere."""
    stream = memoryview(data)
    start = scratch.offset_of(stream)
    if start is None:
        # Not in this scratch: its packed memory holds the chunks that come next.
        scratch = Scratch()
        scratch.reserve_packed(len(stream))
        scratch.packed[: len(stream)] = stream
        start = 0
    return choose_inflater()(scratch, start, len(stream), n_bytes)
