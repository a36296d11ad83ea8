"""A data module for the models of scvi-tools: ``SCVI`` and ``SCANVI``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from scdataset_core import Loader, Streaming
from scdataset_core.checks import install_command
from scdataset_core.sources.base import Source

from .collate import TensorBatch, to_tensors
from .lightning import LoaderDataModule, ResumableDataLoader

__all__ = ["ScviDataModule"]


@dataclass(frozen=True)
class _ToRegistry:
    """Makes of a Loader's batch what scvi-tools' registry names, in a worker.

    Parameters
    ----------
    batch, labels
        Their obs columns, or None.
    label_codes
        scvi-tools' code of each of the source's labels, and last of a missing one.
    categorical, continuous
        obs columns of covariates.
    """

    batch: str | None
    labels: str | None
    label_codes: npt.NDArray[np.int64]
    categorical: tuple[str, ...]
    continuous: tuple[str, ...]

    def __call__(self, batch: Mapping[str, Any]) -> TensorBatch:
        made = to_tensors("dense")(batch)
        if not isinstance(made["X"], torch.Tensor):
            raise TypeError(
                "scvi-tools takes X as one matrix; leave output and x of the Loader"
                " for ScviDataModule as they are by default"
            )
        obs, none = made["obs"], torch.zeros(len(made["index"]), dtype=torch.int64)
        labels = none
        if self.labels is not None:
            labels = torch.from_numpy(self.label_codes)[obs[self.labels]]
        parts = {
            "X": made["X"].float(),
            "batch": none if self.batch is None else self._codes(made, self.batch),
            "labels": labels,
            "ind_x": made["index"],
        }
        parts = {k: v if k == "X" else v[:, None] for k, v in parts.items()}
        if self.categorical:
            codes = [self._codes(made, name) for name in self.categorical]
            parts["extra_categorical_covs"] = torch.stack(codes, dim=1)
        if self.continuous:
            values = [obs[name].float() for name in self.continuous]
            parts["extra_continuous_covs"] = torch.stack(values, dim=1)
        return TensorBatch(parts)

    @staticmethod
    def _codes(batch: Mapping[str, Any], name: str) -> torch.Tensor:
        codes: torch.Tensor = batch["obs"][name]
        if len(codes) and int(codes.min()) < 0:
            row = int(batch["index"][codes.argmin()])
            raise ValueError(
                f"row {row} has no {name}, and scvi-tools needs one of every cell;"
                " leave such rows out with the strategy's indices="
            )
        return codes


class ScviDataModule(LoaderDataModule):
    """Cells for ``model.train(datamodule=...)`` of scvi-tools, straight out of files.

    Make the model of the module's registry, ``SCVI(registry=data.registry)``. A
    ``SCANVI`` also takes ``datamodule=data``; its classifier learns from the labelled
    cells of each minibatch, all others are those without a label and those of the
    `unlabeled_category`.

    Parameters
    ----------
    train
        The Loader of counts, over a source opened with the obs columns named here.
    val
        A Loader over the same source, of other rows.
    batch_key
        obs column of batches; by default all cells are of one.
    labels_key
        obs column of labels, such as cell types.
    unlabeled_category
        Label of cells without one.
    categorical_covariate_keys, continuous_covariate_keys
        obs columns of further covariates.
    model_name
        Class of the model.
    **options
        Of ``DataLoader``: num_workers, pin_memory, persistent_workers, ...

    Raises
    ------
    TypeError
        If a Loader is not over a source.
    ValueError
        If a column was not opened, or is of the wrong kind, or `val` has other genes or
        labels.
    ModuleNotFoundError
        If scvi-tools is not installed.
    """

    def __init__(
        self,
        train: Loader,
        val: Loader | None = None,
        *,
        batch_key: str | None = None,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        categorical_covariate_keys: Sequence[str] = (),
        continuous_covariate_keys: Sequence[str] = (),
        model_name: str = "SCVI",
        **options: Any,
    ) -> None:
        self._version = _scvi_version()
        self.source = _checked_source(train)
        self.batch_key, self.labels_key = batch_key, labels_key
        self.unlabeled_category = unlabeled_category
        self.model_name = model_name
        self._categorical = tuple(categorical_covariate_keys)
        self._continuous = tuple(continuous_covariate_keys)
        keys = [batch_key, labels_key, *self._categorical]
        _check_columns(self.source, [k for k in keys if k is not None], coded=True)
        _check_columns(self.source, self._continuous, coded=False)
        if val is not None:
            _check_same(self.source, _checked_source(val))
        known = [] if labels_key is None else self.source.categories[labels_key]
        self._classes = [label for label in known if label != unlabeled_category]
        codes = {label: code for code, label in enumerate(self._classes)}
        unlabeled = len(self._classes)
        numbers = [codes.get(label, unlabeled) for label in known]
        self._label_codes = np.array(
            [*numbers, unlabeled], np.int64
        )  # −1 takes the last
        collate = _ToRegistry(
            batch_key,
            labels_key,
            self._label_codes,
            self._categorical,
            self._continuous,
        )
        super().__init__(train=train, val=val, collate=collate, **options)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Give a semi-supervised model the labelled cells of a batch beside all."""
        from scvi.train import SemiSupervisedTrainingPlan

        plan = getattr(self.trainer, "lightning_module", None)
        if not isinstance(plan, SemiSupervisedTrainingPlan):
            return batch
        labelled = batch["labels"][:, 0] < len(self._classes)
        if not bool(labelled.any()):
            return batch
        return batch, {name: part[labelled] for name, part in batch.items()}

    def inference_dataloader(self, loader: Loader | None = None) -> Any:
        """Return a dataloader for ``model.get_latent_representation(dataloader=...)``.

        Parameters
        ----------
        loader
            What to run the model on; by default all cells of the source in their order,
            in minibatches of the training Loader's size.
        """
        if loader is None:
            train = self._loaders["train"]
            size = 128 if train is None else train.batch_size
            loader = Loader(self.source, Streaming(), batch_size=size)
        dataset = self._make_dataset(loader, training=False)
        return ResumableDataLoader(dataset, **self._options)

    @property
    def n_obs(self) -> int:
        """Number of cells of the source."""
        return len(self.source)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return int(self.source.shape[1])

    @property
    def n_batch(self) -> int:
        """Number of batches."""
        return len(self.batch_labels)

    @property
    def n_labels(self) -> int:
        """Number of labels, with that of unlabelled cells if there are any."""
        return len(self._label_mapping)

    @property
    def n_samples(self) -> int:
        """Number of samples, which these models do not use."""
        return 0

    @property
    def batch_labels(self) -> npt.NDArray[Any]:
        """Label of each batch."""
        if self.batch_key is None:
            return np.array(["0"], dtype=object)
        return np.array(self.source.categories[self.batch_key], dtype=object)

    @property
    def label_keys(self) -> list[str] | None:
        """The obs columns of labels."""
        return None if self.labels_key is None else [self.labels_key]

    @property
    def labels_(self) -> npt.NDArray[Any]:
        """Label of every cell of the source, as ``SCANVI`` asks for it."""
        if self.labels_key is None:
            raise ValueError("there are no labels; give ScviDataModule(labels_key=...)")
        names = np.array([*self._classes, self.unlabeled_category], dtype=object)
        labels: npt.NDArray[Any] = names[self._codes_of_all]
        return labels

    @property
    def _codes_of_all(self) -> npt.NDArray[np.int64]:
        assert self.labels_key is not None  # both callers have asked
        codes: npt.NDArray[np.int64] = self._label_codes[
            np.asarray(self.source.obs[self.labels_key])
        ]
        return codes

    @property
    def _label_mapping(self) -> npt.NDArray[Any]:
        """Return the label of each code."""
        if self.labels_key is None:
            return np.array(["0"], dtype=object)
        names = list(self._classes)
        if bool((self._codes_of_all == len(names)).any()):
            names.append(self.unlabeled_category)
        return np.array(names, dtype=object)

    @property
    def registry(self) -> dict[str, Any]:
        """What scvi-tools calls the registry: the names and numbers a model needs."""
        categories = {k: self.source.categories[k] for k in self._categorical}
        mapping = {k: np.array(v, dtype=object) for k, v in categories.items()}
        n_cats = [len(labels) for labels in mapping.values()]
        names = [str(name) for name in self.source.var_names]
        labels = self._label_mapping
        fields = {
            "X": _field(
                "X",
                None,
                {"n_obs": self.n_obs, "n_vars": self.n_vars, "column_names": names},
                {"n_vars": self.n_vars, "n_cells": self.n_obs},
            ),
            "batch": _field(
                "obs",
                "_scvi_batch",
                {
                    "categorical_mapping": self.batch_labels,
                    "original_key": self.batch_key or "_scvi_batch",
                },
                {"n_batch": self.n_batch},
            ),
            "labels": _field(
                "obs",
                "_scvi_labels",
                {
                    "categorical_mapping": labels,
                    "original_key": self.labels_key or "_scvi_labels",
                    "unlabeled_category": self.unlabeled_category,
                },
                {"n_labels": len(labels)},
            ),
            "ind_x": _field("obs", "_indices", {}, {}),
            "size_factor": {"data_registry": {}, "state_registry": {}}
            | {"summary_stats": {}},
            "extra_categorical_covs": _field(
                "obsm",
                "_scvi_extra_categorical_covs",
                {
                    "field_keys": list(mapping),
                    "mapping": mapping,
                    "n_cats_per_key": n_cats,
                },
                {"n_extra_categorical_covs": len(mapping)},
                there=bool(mapping),
            ),
            "extra_continuous_covs": _field(
                "obsm",
                "_scvi_extra_continuous_covs",
                {"columns": np.array(self._continuous, dtype=object)},
                {"n_extra_continuous_covs": len(self._continuous)},
                there=bool(self._continuous),
            ),
        }
        arguments = {
            "layer": None,
            "batch_key": self.batch_key,
            "labels_key": self.labels_key,
            "size_factor_key": None,
            "categorical_covariate_keys": list(self._categorical) or None,
            "continuous_covariate_keys": list(self._continuous) or None,
        }
        return {
            "scvi_version": self._version,
            "model_name": self.model_name,
            "setup_args": arguments,
            "field_registries": fields,
            "setup_method_name": "setup_datamodule",
        }


def _field(
    attribute: str,
    key: str | None,
    state: dict[str, Any],
    stats: dict[str, Any],
    *,
    there: bool = True,
) -> dict[str, Any]:
    """Return one field of the registry; an optional one may not be there."""
    return {
        "data_registry": {"attr_name": attribute, "attr_key": key} if there else {},
        "state_registry": state if there else {},
        "summary_stats": stats,
    }


def _scvi_version() -> str:
    try:
        return version("scvi-tools")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "scdataset_torch.scvi needs scvi-tools; "
            f"install it with `{install_command('scvi')}`",
            name="scvi",
        ) from error


def _checked_source(loader: Any) -> Source:
    source = getattr(loader, "source", None)
    if not isinstance(source, Source):
        raise TypeError(
            "ScviDataModule takes Loaders over what scdataset_core.open(...) returns,"
            f" got {type(loader).__name__} over {type(source).__name__}"
        )
    return source


def _check_columns(source: Source, names: Sequence[str], *, coded: bool) -> None:
    for name in names:
        if name not in source.obs_columns:
            opened = ", ".join(source.obs_columns) or "none"
            raise ValueError(
                f"obs column {name!r} was not opened; open(..., obs=[{name!r}, ...])"
                f" carries it (those opened: {opened})"
            )
        if (name in source.categories) != coded:
            kind = "labels" if coded else "numbers"
            raise ValueError(f"obs column {name!r} must hold {kind} here")


def _check_same(train: Source, val: Source) -> None:
    if list(train.var_names) != list(val.var_names):
        raise ValueError("train and val have other genes; open both alike")
    for name, labels in train.categories.items():
        if list(val.categories.get(name, [])) != list(labels):
            raise ValueError(
                f"train and val have other labels of {name!r}; open val with"
                " categories=train.source.categories"
            )
