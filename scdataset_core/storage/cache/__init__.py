"""The chunk cache: decoded chunks, kept small on a local disk for later reads.

Compressed files are bound by their decoder. A :class:`~.folder.Cache` keeps what was
decoded, each chunk in the narrowest type that holds it exactly, at a fixed place of a
file, so that any run of its elements is one read.

- :mod:`.folder`: the folder, what it holds, and its limit.
- :mod:`.array_cache`: the kept chunks of one array, as the reading code asks for them.
- :mod:`.narrowing`: the narrowest exact type.
- :mod:`.records`: what is noted of each chunk, with its checksum.
- :mod:`.writing`: the thread that writes beside the training.
- :mod:`.users`: which processes use which arrays, so that none is removed in use.
- :mod:`.filling`: filling the cache with all chunks of a source.
"""

from .folder import Cache, CacheEntry

__all__ = ["Cache", "CacheEntry"]
