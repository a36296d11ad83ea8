"""How many files may stay open in a process."""

__all__ = ["most_open"]

# More files than this need not stay open, however many a process may open. One that is
# open is checked in 2 to 6 microseconds of processor time; to open it, and to close
# another one for it, takes 5 more (5,000 files, warm, two cores, November 2026).
MOST_OPEN = 8192
# This many of the files that a process may open are left to others, and only one in
# PART of the rest is taken: other readers and libraries of the process open files too.
LEFT_ALONE, PART = 32, 4
LEAST_OPEN = 4


def most_open() -> int:
    """Return how many files of one kind may stay open in this process, at its limit."""
    try:
        import resource
    except ImportError:  # Windows, whose C library has room for a few thousand
        return MOST_OPEN // 16
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_OPEN
    return max(LEAST_OPEN, min(MOST_OPEN, (limit - LEFT_ALONE) // PART))
