"""Build the registry from which a model of scvi-tools learns names and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Registry"]

Field = dict[str, Any]


@dataclass(frozen=True)
class Registry:
    """The names and numbers that a model of scvi-tools needs.

    Parameters
    ----------
    n_obs
        Number of cells.
    var_names
        Names of the genes.
    batch_key, labels_key
        The obs columns of batches and of labels, or None.
    batch_labels, labels
        The label of each code of a batch, and of each code of a label.
    unlabeled_category
        The label that stands for "no label".
    categorical
        The labels of each obs column of categorical covariates.
    continuous
        The obs columns of continuous covariates.
    """

    n_obs: int
    var_names: npt.NDArray[Any]
    batch_key: str | None
    batch_labels: npt.NDArray[Any]
    labels_key: str | None
    labels: npt.NDArray[Any]
    unlabeled_category: str
    categorical: Mapping[str, Sequence[str]]
    continuous: Sequence[str]

    def to_dict(self, scvi_version: str, model_name: str) -> dict[str, Any]:
        """Return the registry as scvi-tools stores it.

        Parameters
        ----------
        scvi_version
            Version of scvi-tools.
        model_name
            Name of the model's class.
        """
        arguments = {
            "layer": None,
            "batch_key": self.batch_key,
            "labels_key": self.labels_key,
            "size_factor_key": None,
            "categorical_covariate_keys": list(self.categorical) or None,
            "continuous_covariate_keys": list(self.continuous) or None,
        }
        return {
            "scvi_version": scvi_version,
            "model_name": model_name,
            "setup_args": arguments,
            "field_registries": {
                "X": self._make_x(),
                "batch": self._make_batch(),
                "labels": self._make_labels(),
                "ind_x": _make_field("obs", "_indices", {}, {}),
                "size_factor": _make_field("", None, {}, {}, there=False),
                "extra_categorical_covs": self._make_categorical(),
                "extra_continuous_covs": self._make_continuous(),
            },
            "setup_method_name": "setup_datamodule",
        }

    def _make_x(self) -> Field:
        names = [str(name) for name in self.var_names]
        state = {"n_obs": self.n_obs, "n_vars": len(names), "column_names": names}
        stats = {"n_vars": len(names), "n_cells": self.n_obs}
        return _make_field("X", None, state, stats)

    def _make_batch(self) -> Field:
        state = {
            "categorical_mapping": self.batch_labels,
            "original_key": self.batch_key or "_scvi_batch",
        }
        stats = {"n_batch": len(self.batch_labels)}
        return _make_field("obs", "_scvi_batch", state, stats)

    def _make_labels(self) -> Field:
        state = {
            "categorical_mapping": self.labels,
            "original_key": self.labels_key or "_scvi_labels",
            "unlabeled_category": self.unlabeled_category,
        }
        return _make_field("obs", "_scvi_labels", state, {"n_labels": len(self.labels)})

    def _make_categorical(self) -> Field:
        mapping = {k: np.array(v, dtype=object) for k, v in self.categorical.items()}
        state = {
            "field_keys": list(mapping),
            "mapping": mapping,
            "n_cats_per_key": [len(labels) for labels in mapping.values()],
        }
        return _make_field(
            "obsm",
            "_scvi_extra_categorical_covs",
            state,
            {"n_extra_categorical_covs": len(mapping)},
            there=bool(mapping),
        )

    def _make_continuous(self) -> Field:
        return _make_field(
            "obsm",
            "_scvi_extra_continuous_covs",
            {"columns": np.array(self.continuous, dtype=object)},
            {"n_extra_continuous_covs": len(self.continuous)},
            there=bool(self.continuous),
        )


def _make_field(
    attribute: str,
    key: str | None,
    state: Field,
    stats: dict[str, int],
    *,
    there: bool = True,
) -> Field:
    """Return one field of the registry, with empty entries if it is not `there`."""
    return {
        "data_registry": {"attr_name": attribute, "attr_key": key} if there else {},
        "state_registry": state if there else {},
        "summary_stats": stats,
    }
