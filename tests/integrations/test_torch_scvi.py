"""The data module for scvi-tools: registry and batches, and models that are trained."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("lightning")
if find_spec("scvi") is None:
    pytest.skip("needs scvi-tools", allow_module_level=True)

import torch
from scdataset_torch.scvi import ScviDataModule

from scdataset_core import BlockShuffling, Loader, Streaming, open

pytestmark = [
    # Of what scvi-tools and Lightning import and call.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
OBS = ["plate", "cell_line", "drug", "dose"]


@pytest.fixture
def source(tmp_path):
    """Return 240 cells x 50 genes of two plates, a third of them without a label."""
    import anndata as ad
    import pandas as pd
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    for plate in (1, 2):
        lines = pd.Categorical.from_codes(
            rng.integers(-1, 3, 120), ["A549", "Unknown", "MCF7"]
        )
        obs = pd.DataFrame(
            {
                "plate": pd.Categorical([f"plate{plate}"] * 120),
                "cell_line": lines,
                "drug": pd.Categorical(rng.choice(["DMSO", "Afatinib"], 120)),
                "dose": rng.normal(size=120),
            },
            index=[f"{plate}-{i}" for i in range(120)],
        )
        counts = rng.poisson(2, (120, 50)).astype(np.float32)
        genes = pd.DataFrame(index=[f"gene{i}" for i in range(50)])
        adata = ad.AnnData(csr_matrix(counts), obs=obs, var=genes)
        adata.write_h5ad(tmp_path / f"plate{plate}.h5ad")
    return open(tmp_path / "*.h5ad", obs=OBS)


def make_data(source, **options):
    train = BlockShuffling(8, indices=np.arange(200))
    return ScviDataModule(
        Loader(source, train, batch_size=32, fetch_factor=2),
        Loader(source, Streaming(np.arange(200, 240)), batch_size=32),
        **options,
    )


def test_a_batch_has_the_keys_of_the_registry(source):
    data = make_data(
        source,
        batch_key="plate",
        labels_key="cell_line",
        categorical_covariate_keys=["drug"],
        continuous_covariate_keys=["dose"],
    )
    rows = []
    for batch in data.train_dataloader():
        index = batch["ind_x"][:, 0].numpy()
        rows += index.tolist()
        order = np.argsort(index)
        cells = source.read(index[order])
        assert np.array_equal(batch["X"].numpy()[order], cells["X"].toarray())
        assert batch["X"].dtype == torch.float32
        plates = source.obs["plate"][index]
        assert batch["batch"][:, 0].tolist() == plates.tolist()
        names = np.array([*source.categories["cell_line"], "Unknown"])
        own = names[source.obs["cell_line"][index]]
        mapping = data.registry["field_registries"]["labels"]["state_registry"]
        got = mapping["categorical_mapping"][batch["labels"][:, 0].numpy()]
        assert got.tolist() == own.tolist()
        drugs = source.obs["drug"][index]
        assert batch["extra_categorical_covs"][:, 0].tolist() == drugs.tolist()
        dose = source.obs["dose"][index].astype(np.float32)
        assert batch["extra_continuous_covs"][:, 0].tolist() == dose.tolist()
    assert sorted(rows) == list(range(200))
    assert (data.n_obs, data.n_vars, data.n_batch, data.n_labels) == (240, 50, 2, 3)
    assert data.labels_.tolist().count("Unknown") == int(
        np.isin(source.obs["cell_line"], [-1, 1]).sum()
    )


def test_the_label_of_unlabelled_cells_comes_last_and_only_where_there_are_any(source):
    def names(**options):
        fields = make_data(source, **options).registry["field_registries"]
        return fields["labels"]["state_registry"]["categorical_mapping"].tolist()

    assert source.categories["cell_line"] == ["A549", "Unknown", "MCF7"]
    assert names(labels_key="cell_line") == ["A549", "MCF7", "Unknown"]
    assert names(labels_key="drug") == ["Afatinib", "DMSO"]
    assert names() == ["0"]


def test_what_does_not_go_is_refused(source):
    with pytest.raises(ValueError, match="'lane' was not opened"):
        make_data(source, batch_key="lane")
    with pytest.raises(ValueError, match="'dose' must hold labels here"):
        make_data(source, batch_key="dose")
    with pytest.raises(ValueError, match="'drug' must hold numbers here"):
        make_data(source, continuous_covariate_keys=["drug"])
    with pytest.raises(TypeError, match="Loader over ndarray"):
        ScviDataModule(Loader(np.arange(9)))
    with pytest.raises(ValueError, match="have other genes"):
        ScviDataModule(
            Loader(source), Loader(open(source.files[0], obs=OBS, genes=["gene1"]))
        )
    data = make_data(source, batch_key="cell_line")
    with pytest.raises(ValueError, match=r"row \d+ has no cell_line"):
        list(data.train_dataloader())
    with pytest.raises(ValueError, match=r"ScviDataModule\(labels_key=\.\.\.\)"):
        _ = make_data(source).labels_


@pytest.fixture
def models():
    """Return ``scvi.model``, which takes seconds to import."""
    # Release 1.4.2 cannot be imported where JAX and optax are, but flax is not.
    hidden = find_spec("flax") is None and "scvi" not in sys.modules
    optax = sys.modules.pop("optax", None) if hidden else None
    if hidden:
        sys.modules["optax"] = None  # type: ignore[assignment]  # "there is none"
    try:
        import scvi.model
    finally:
        if hidden:
            del sys.modules["optax"]
        if optax is not None:
            sys.modules["optax"] = optax
    return scvi.model


TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "logger": False,
    "enable_checkpointing": False,
}


@pytest.mark.slow
def test_scvi_is_trained_saved_and_used(source, models, tmp_path):
    data = make_data(source, batch_key="plate", continuous_covariate_keys=["dose"])
    torch.manual_seed(0)
    model = models.SCVI(registry=data.registry, n_hidden=16, n_latent=4)
    before = model.module.state_dict()
    before = {name: part.clone() for name, part in before.items()}
    model.train(max_epochs=2, datamodule=data, **TRAINER)
    after = model.module.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    latent = model.get_latent_representation(dataloader=data.inference_dataloader())
    assert latent.shape == (240, 4)
    assert np.isfinite(latent).all()
    model.save(str(tmp_path / "model"), datamodule=data)
    again = models.SCVI.load(str(tmp_path / "model"), adata=False)
    other = again.get_latent_representation(dataloader=data.inference_dataloader())
    assert np.allclose(latent, other, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("labels_key", ["cell_line", "drug"])
def test_scanvi_learns_from_the_labelled_cells(source, models, labels_key):
    data = make_data(
        source,
        batch_key="plate",
        labels_key=labels_key,
        categorical_covariate_keys=["drug"] if labels_key == "cell_line" else [],
        model_name="SCANVI",
    )
    torch.manual_seed(0)
    model = models.SCANVI(
        registry=data.registry, datamodule=data, n_hidden=16, n_latent=4
    )
    assert model.n_labels == 2
    before = [part.clone() for part in model.module.classifier.parameters()]
    model.train(max_epochs=2, datamodule=data, check_val_every_n_epoch=1, **TRAINER)
    moved = zip(before, model.module.classifier.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)
    predicted = model.predict(dataloader=data.inference_dataloader())
    assert len(predicted) == 240
