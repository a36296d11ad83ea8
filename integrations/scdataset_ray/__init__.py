"""Ray adapter: it divides a Loader's work in Ray Train, and reads it in Ray Data."""

from scdataset_core.optional import naming_extra as _naming_extra

with _naming_extra(
    "ray", "pandas", "pyarrow", extra="ray", needed_by="The modules of scdataset_ray"
):
    import ray.data  # imported first so that its absence is named
    import ray.train  # noqa: F401

from .checkpoints import restore, save
from .fetch_tasks import datasource
from .ranks import shard

__all__ = ["datasource", "restore", "save", "shard"]
