"""Suggestions for settings, under the name that the package has in 0.3."""

from .auto_config import estimate_sample_size, suggest_parameters

__all__ = ["estimate_sample_size", "suggest_parameters"]
