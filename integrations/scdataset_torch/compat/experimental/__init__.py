"""Suggest settings; this package has the name that it has in `scdataset` 0.3."""

from .auto_config import estimate_sample_size, suggest_parameters

__all__ = ["estimate_sample_size", "suggest_parameters"]
