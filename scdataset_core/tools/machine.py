"""Says on which machine something was measured, and with which packages."""

import datetime
import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["describe_machine"]

PACKAGES = ("scdataset-core", "numpy", "h5py", "deflate", "anndata")


def describe_machine(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return what a reader needs to know to judge figures about speed.

    Parameters
    ----------
    packages
        Names of packages; of those that are installed, the version is given.
    """
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }
    with suppress(AttributeError, ValueError, OSError):  # not everywhere
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory"] = f"{memory / 2**30:.0f} GiB"
    found["system"] = f"{platform.system()} {platform.release()}"
    found["Python"] = platform.python_version()
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if model is not None:
            return model[1]
    return platform.processor() or platform.machine() or "unknown processor"
