"""ScviDataModule gives cells to the models of scvi-tools: ``SCVI`` and ``SCANVI``."""

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
from .scvi_registry import Registry

__all__ = ["ScviDataModule"]


@dataclass(frozen=True)
class _ToScviBatch:
    """Converts a Loader's batch to the tensors that scvi-tools' registry names.

    Workers apply it to each batch.

    Parameters
    ----------
    batch, labels
        The obs columns of batches and of labels, or None.
    label_codes
        scvi-tools' code for each of the source's labels, and at the end its code for a
        missing label.
    categorical, continuous
        The obs columns of covariates.
    """

    batch: str | None
    labels: str | None
    label_codes: npt.NDArray[np.int64]
    categorical: tuple[str, ...]
    continuous: tuple[str, ...]

    def __call__(self, batch: Mapping[str, Any]) -> TensorBatch:
        tensors = to_tensors("dense")(batch)
        if not isinstance(tensors["X"], torch.Tensor):
            raise TypeError(
                "scvi-tools takes X as one matrix; leave the Loader's output and x at"
                " their defaults for ScviDataModule"
            )
        obs, index = tensors["obs"], tensors["index"]
        zeros = torch.zeros(len(index), dtype=torch.int64)
        labels = zeros
        if self.labels is not None:
            labels = torch.from_numpy(self.label_codes)[obs[self.labels]]
        parts = {
            "X": tensors["X"].float(),
            "batch": zeros if self.batch is None else _get_codes(tensors, self.batch),
            "labels": labels,
            "ind_x": index,
        }
        parts = {k: v if k == "X" else v[:, None] for k, v in parts.items()}
        if self.categorical:
            codes = [_get_codes(tensors, name) for name in self.categorical]
            parts["extra_categorical_covs"] = torch.stack(codes, dim=1)
        if self.continuous:
            values = [obs[name].float() for name in self.continuous]
            parts["extra_continuous_covs"] = torch.stack(values, dim=1)
        return TensorBatch(parts)


def _get_codes(batch: Mapping[str, Any], name: str) -> torch.Tensor:
    """Return the codes of an obs column, none of which may be missing."""
    codes: torch.Tensor = batch["obs"][name]
    if len(codes) and int(codes.min()) < 0:
        row = int(batch["index"][codes.argmin()])
        raise ValueError(
            f"row {row} has no {name}, and scvi-tools needs one for every cell;"
            " leave such rows out with the strategy's indices="
        )
    return codes


class ScviDataModule(LoaderDataModule):
    """A data module for ``model.train(datamodule=...)`` of scvi-tools.

    Make the model from the module's registry: ``SCVI(registry=data.registry)``.
    ``SCANVI`` also takes ``datamodule=data``. Its classifier learns from the labelled
    cells of each minibatch; cells without a label and cells of the `unlabeled_category`
    count as unlabelled.

    Parameters
    ----------
    train
        A Loader of counts, over a source that was opened with the obs columns named
        here.
    val
        A Loader over other rows of the same source.
    batch_key
        The obs column of batches. By default all cells belong to one batch.
    labels_key
        The obs column of labels, such as cell types.
    unlabeled_category
        The label that stands for "no label".
    categorical_covariate_keys, continuous_covariate_keys
        The obs columns of further covariates.
    model_name
        Name of the model's class.
    **options
        Options of ``DataLoader``: num_workers, pin_memory, persistent_workers, ...

    Raises
    ------
    TypeError
        If a Loader is not over a source.
    ValueError
        If a column was not opened or is of the wrong kind, or if `val` has other genes
        or labels.
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
        self.source = _get_source(train)
        self.batch_key, self.labels_key = batch_key, labels_key
        self.unlabeled_category = unlabeled_category
        self.model_name = model_name
        self._categorical = tuple(categorical_covariate_keys)
        self._continuous = tuple(continuous_covariate_keys)
        keys = [batch_key, labels_key, *self._categorical]
        _check_columns(self.source, [k for k in keys if k is not None], coded=True)
        _check_columns(self.source, self._continuous, coded=False)
        if val is not None:
            _check_same(self.source, _get_source(val))
        known = [] if labels_key is None else self.source.categories[labels_key]
        self._classes = [label for label in known if label != unlabeled_category]
        codes = {label: code for code, label in enumerate(self._classes)}
        unlabeled = len(self._classes)
        numbers = [codes.get(label, unlabeled) for label in known]
        # A missing label has the code −1, which takes the last number.
        self._label_codes = np.array([*numbers, unlabeled], np.int64)
        collate = _ToScviBatch(
            batch_key,
            labels_key,
            self._label_codes,
            self._categorical,
            self._continuous,
        )
        super().__init__(train=train, val=val, collate=collate, **options)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch, and its labelled cells too for a semi-supervised model."""
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
            A Loader over the cells that the model runs on. By default these are all
            cells of the source in their order, in minibatches of the training Loader's
            size.
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
        """Number of labels; unlabelled cells, if there are any, add one."""
        return len(self._label_mapping)

    @property
    def n_samples(self) -> int:
        """Number of samples; 0, since these models do not use them."""
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
        """Label of every cell of the source, an attribute that ``SCANVI`` reads."""
        if self.labels_key is None:
            raise ValueError("there are no labels; give ScviDataModule(labels_key=...)")
        names = np.array([*self._classes, self.unlabeled_category], dtype=object)
        labels: npt.NDArray[Any] = names[self._codes_of_all]
        return labels

    @property
    def _codes_of_all(self) -> npt.NDArray[np.int64]:
        assert self.labels_key is not None  # both callers have checked this
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
        """The registry of scvi-tools: names and numbers that a model needs."""
        registry = Registry(
            n_obs=self.n_obs,
            var_names=self.source.var_names,
            batch_key=self.batch_key,
            batch_labels=self.batch_labels,
            labels_key=self.labels_key,
            labels=self._label_mapping,
            unlabeled_category=self.unlabeled_category,
            categorical={k: self.source.categories[k] for k in self._categorical},
            continuous=self._continuous,
        )
        return registry.to_dict(self._version, self.model_name)


def _scvi_version() -> str:
    try:
        return version("scvi-tools")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "scdataset_torch.scvi needs scvi-tools; "
            f"install it with `{install_command('scvi')}`",
            name="scvi",
        ) from error


def _get_source(loader: Any) -> Source:
    """Return the source of a Loader, which must be one that `open` returned."""
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
