"""Several hooks in one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..checks import check_count, check_made
from ..hook_epoch import in_epoch

__all__ = ["compose"]


def compose(*hooks: Callable[[Any], Any]) -> "Composed":
    """Return a hook that calls several hooks, the first one first.

    Parameters
    ----------
    *hooks
        Transforms of this package, and functions of your own that take a batch and
        return one. None leaves the batch as it is.

    Raises
    ------
    TypeError
        If a hook cannot be called.

    Examples
    --------
    >>> from scdataset_core.transforms import log1p, normalize_total
    >>> compose(normalize_total(), log1p())
    compose(normalize_total(target_sum=10000.0), log1p())
    """
    flat: list[Callable[[Any], Any]] = []
    for hook in hooks:
        if not callable(hook):
            raise TypeError(f"compose takes functions of a batch, got {hook!r}")
        check_made("a hook of compose", hook)
        flat.extend(hook.hooks if isinstance(hook, Composed) else [hook])
    return Composed(tuple(flat))


@dataclass(frozen=True, repr=False)
class Composed:
    """What :func:`compose` returns.

    Parameters
    ----------
    hooks
        The hooks, the first one first.
    """

    hooks: tuple[Callable[[Any], Any], ...]

    def __call__(self, batch: Any, epoch: int | None = None) -> Any:
        """Return what the last hook makes of the batch."""
        if epoch is not None:
            check_count("epoch", epoch, least=0)
            with in_epoch(epoch):
                return self(batch)
        for hook in self.hooks:
            batch = hook(batch)
        return batch

    def check_source(self, source: Any) -> None:  # Any: a Source, see Hook
        """Raise if a hook does not go with the genes of a source."""
        for hook in self.hooks:
            if not hasattr(hook, "check_source"):
                return  # a function of the user's, which may choose genes
            hook.check_source(source)

    def __repr__(self) -> str:
        return f"compose({', '.join(map(repr, self.hooks))})"
