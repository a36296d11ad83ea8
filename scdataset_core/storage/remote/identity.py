"""What tells an object from what it was before it was written anew."""

from dataclasses import dataclass

__all__ = ["ObjectIdentity"]


@dataclass(frozen=True)
class ObjectIdentity:
    """The size of an object, and the tag or time that changes with its content.

    Parameters
    ----------
    n_bytes
        Its size.
    etag
        Its ETag; None where the store gives none.
    modified
        When it was last changed, as text; None where the store does not say. It counts
        only where there is no ETag.
    """

    n_bytes: int
    etag: str | None = None
    modified: str | None = None

    @property
    def version(self) -> str | None:
        """The ETag, or the time of the last change; None where neither is known."""
        return self.etag or self.modified

    @property
    def can_be_demanded(self) -> bool:
        """Whether a request can demand this ETag; a weak one never matches."""
        return self.etag is not None and not self.etag.startswith("W/")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectIdentity):
            return NotImplemented
        return (self.n_bytes, self.version) == (other.n_bytes, other.version)

    def __hash__(self) -> int:
        return hash((self.n_bytes, self.version))

    def __str__(self) -> str:
        if self.etag is not None:
            return f"{self.n_bytes} bytes and the ETag {self.etag}"
        if self.modified is not None:
            return f"{self.n_bytes} bytes, last changed at {self.modified}"
        return f"{self.n_bytes} bytes"
