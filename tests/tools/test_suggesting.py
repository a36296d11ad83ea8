"""`suggest` of files gives what it gives for the source, as plain data."""

import json
from dataclasses import asdict

import pytest

import scdataset_core as scd
from scdataset_core import tools
from scdataset_core.tools import suggest


def test_files_and_a_source_give_the_same_plain_data(plates):
    path = plates / "*.h5ad"
    found = suggest(path, memory="20MB", label="plate", batch_size=16)
    source = scd.open(path)
    asked = {"memory": "20MB", "label": "plate", "batch_size": 16}
    assert found == suggest(source, **asked) == asdict(scd.suggest(source, **asked))
    assert json.loads(json.dumps(found)) == found


def test_options_that_an_open_source_ignores_are_refused(plates):
    source = scd.open(str(plates / "*.h5ad"))
    for call, options in (
        (tools.suggest, {"x": "obsm/X_pca"}),
        (tools.tune, {"cache": "folder"}),
        (tools.bench, {"x": "layers/counts"}),
    ):
        with pytest.raises(
            ValueError, match=f"{next(iter(options))}= would be ignored"
        ):
            call(source, **options)
