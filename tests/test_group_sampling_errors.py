"""What a sampling of groups refuses, and what it says then."""

from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd


@pytest.fixture(scope="module")
def source(plates: Path) -> scd.Source:
    return scd.open(plates / "*.h5ad", obs=["cell_line", "drug", "plate"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"match": "drug"}, "match=.* goes with control", id="match"),
        pytest.param({"control_size": 4}, "control_size=4 goes with", id="size"),
        pytest.param({"short": "pad"}, '"resample", "drop" or "keep"', id="short"),
        pytest.param({"set_size": 0}, "set_size must be at least 1", id="set_size"),
        pytest.param({"block_size": 0}, "block_size must be at least", id="block"),
        pytest.param({"total_sets": 0}, "total_sets must be at least", id="total"),
        pytest.param({"weights": [0, 0]}, "must not all be zero", id="weights"),
        pytest.param(
            {"weights": [1, 2], "short": "keep"}, "does not go with weights", id="keep"
        ),
        pytest.param({"control": {}}, "control must name a column", id="control"),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": ["a", "a"]}, "twice", id="twice"
        ),
        pytest.param({"groups": []}, "must be 1-D and not empty", id="groups"),
        pytest.param({"indices": [0, 0]}, "must not repeat a row", id="indices"),
    ],
)
def test_what_does_not_go_together_is_an_error(options, words: str) -> None:
    given_ = {"groups": "drug", "set_size": 4} | options
    with pytest.raises(ValueError, match=words):
        scd.GroupSampling(**given_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"groups": None}, "groups must be obs columns", id="groups"),
        pytest.param({"control": "DMSO"}, "labels by obs column", id="control"),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": [3]}, "names of obs", id="match"
        ),
        pytest.param({"block_size": "storage"}, "block_size must be an", id="storage"),
    ],
)
def test_what_is_of_another_type_is_an_error(options, words: str) -> None:
    given_ = {"groups": "drug", "set_size": 4} | options
    with pytest.raises(TypeError, match=words):
        scd.GroupSampling(**given_)


@pytest.mark.parametrize(
    ("strategy", "loader", "words"),
    [
        pytest.param({}, {"batch_size": 12}, "multiple of set_size=8", id="batch"),
        pytest.param({}, {"output": "anndata"}, "has no place", id="anndata"),
        pytest.param({"short": "keep"}, {}, 'only output="padded"', id="keep"),
        pytest.param(
            {"groups": "drugs"}, {}, 'did you mean "drug"', id="unknown_column"
        ),
        pytest.param(
            {"control": {"drug": "DMS0"}}, {}, 'did you mean "DMSO"', id="no_label"
        ),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": "plates"},
            {},
            'did you mean "plate"',
            id="unknown_match",
        ),
        pytest.param({"groups": np.zeros(7)}, {}, "each of the 1200", id="length"),
        pytest.param({"weights": np.ones(7)}, {}, "each of the 1200", id="weights"),
        pytest.param(
            {"groups": np.full(1200, -1)}, {}, "no cell is in a group", id="no_labels"
        ),
        pytest.param(
            {"control": {"drug": ["DMSO", "Afatinib", "Bortezomib"]}},
            {},
            "no cell is in a group",
            id="all_controls",
        ),
        pytest.param(
            {"set_size": 4096, "short": "drop"},
            {"batch_size": 4096},
            "every group is smaller than set_size=4096",
            id="all_short",
        ),
        pytest.param(
            {"control": np.zeros(1200, bool)}, {}, "no control goes", id="no_controls"
        ),
    ],
)
def test_what_does_not_fit_the_source_is_an_error_of_the_loader(
    source, strategy, loader, words: str
) -> None:
    made = scd.GroupSampling(**({"groups": "drug", "set_size": 8} | strategy))
    with pytest.raises((ValueError, KeyError), match=words):
        scd.Loader(source, made, **({"batch_size": 16} | loader))


def test_sets_need_dict_batches() -> None:
    strategy = scd.GroupSampling(np.arange(40) % 3, 4)
    with pytest.raises(ValueError, match=r"pass scdataset_core\.open\(obj\)"):
        scd.Loader(np.ones((40, 3)), strategy, batch_size=8)
    batch = next(iter(scd.Loader(scd.open(np.ones((40, 3))), strategy, batch_size=8)))
    assert batch["group"].shape == (2,)
    loader = scd.Loader(
        scd.open(np.ones((40, 3))),
        strategy,
        batch_size=8,
        fetch_transform=lambda cells: cells["X"],
    )
    with pytest.raises(TypeError, match="a hook gave a ndarray"):
        next(iter(loader))


def test_a_mixture_refuses_sets(source) -> None:
    joined, mixture = scd.mix(
        [source, source], [1, 1], strategies=scd.GroupSampling("drug", 8)
    )
    with pytest.raises(ValueError, match="arranges the cells of whole fetches"):
        scd.Loader(joined, mixture, batch_size=16)
