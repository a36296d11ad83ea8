"""`suggest` keeps to memory and entropy, and prefers what should cost least."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.candidates import cost_of, list_candidates
from tests.tuning_options import options

ad = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def source(plates):
    return scd.open(plates / "*.h5ad", obs=["plate", "cell_line"])


def test_candidates_fit_memory_and_mix_and_the_cheapest_is_suggested(source):
    found = list_candidates(source, **options())
    assert len(found) > 5
    assert all(one.memory <= 10e6 for one in found)
    assert all(one.entropy is not None and one.entropy >= 0.9 for one in found)
    assert [one.cost for one in found] == sorted(one.cost for one in found)
    best = scd.suggest(source, **options())
    assert (best.block_size, best.fetch_factor) == (
        found[0].block_size,
        found[0].fetch_factor,
    )
    namespace = {"scd": scd, "source": source}
    exec(best.line, namespace)
    loader = namespace["loader"]
    assert loader.strategy.block_size == best.block_size
    assert loader.fetch_factor == best.fetch_factor
    assert not best.cache
    assert "of random" in repr(best)
    # The memory is what Loader(memory=) counts.
    fitted = scd.Loader(source, batch_size=16, memory=best.memory + 1)
    assert fitted.fetch_factor == best.fetch_factor


def test_what_cannot_be_met_is_an_error_that_says_what_can(source):
    with pytest.raises(ValueError, match="is too little"):
        scd.suggest(source, **options(memory=1000))
    with pytest.raises(ValueError, match="min_entropy must be"):
        scd.suggest(source, **options(min_entropy=3.2))
    with pytest.raises(ValueError, match="the best is"):
        list_candidates(source, **options(), block_sizes=[256], fetch_factors=[16])


def test_a_path_is_no_source():
    with pytest.raises(TypeError, match=r"suggest takes a source, got a str; open\(\)"):
        scd.suggest("a.h5ad")


def test_without_a_label_fetches_hold_many_blocks(source):
    best = scd.suggest(source, batch_size=16)
    assert best.fetch_factor >= best.block_size
    assert best.entropy is None


def test_a_label_need_not_be_carried(source):
    bare = scd.open(source.files)
    assert scd.suggest(bare, **options()) == scd.suggest(source, **options())
    with pytest.raises(scd.MissingNameError, match='did you mean "plate"'):
        scd.suggest(bare, **options(label="plat"))


def test_labels_may_be_given_as_an_array(source):
    codes = np.arange(len(source)) % 7
    best = scd.suggest(source, **options(label=codes))
    assert best.entropy is not None
    assert best.entropy > 0.9
    with pytest.raises(ValueError, match="one label for each of the 1200 cells"):
        scd.suggest(source, **options(label=codes[:5]))


def test_compressed_data_prefer_blocks_and_get_the_hint_of_a_cache(plates, tmp_path):
    path = tmp_path / "cells.h5ad"
    ad.read_h5ad(plates / "plate1.h5ad").write_h5ad(path, compression="gzip")
    source = scd.open(path)
    assert cost_of(source, 1, 16, 16) > 1.2 * cost_of(source, 16, 16, 16)
    assert scd.suggest(source, batch_size=16).cache
    cached = scd.open(path, cache=tmp_path / "cache")
    assert not scd.suggest(cached, batch_size=16).cache
    assert cost_of(cached, 1, 16, 16) < cost_of(source, 1, 16, 16)


def test_sources_of_any_kind_get_a_suggestion(source):
    for other in (np.ones((300, 7), np.float32), scd.concat([source, source])):
        other = other if isinstance(other, scd.Source) else scd.open(other)
        assert scd.suggest(other, batch_size=16).block_size >= 1
