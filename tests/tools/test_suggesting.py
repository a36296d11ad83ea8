"""`suggest` of files gives what it gives for the source, as plain data."""

import json
from dataclasses import asdict

import scdataset_core as scd
from scdataset_core.tools import suggest


def test_files_and_a_source_give_the_same_plain_data(plates):
    path = plates / "*.h5ad"
    found = suggest(path, memory="20MB", label="plate", batch_size=16)
    source = scd.open(path)
    asked = {"memory": "20MB", "label": "plate", "batch_size": 16}
    assert found == suggest(source, **asked) == asdict(scd.suggest(source, **asked))
    assert json.loads(json.dumps(found)) == found
