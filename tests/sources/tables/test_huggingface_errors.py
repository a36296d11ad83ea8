"""Hugging Face data sets that cannot be read, and what is said of them."""

import sys

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import make_parts

datasets = pytest.importorskip("datasets")
from tests.sources.tables.data_sets import NAMES, VOCABULARY, make_dataset, make_small  # noqa: E402


def test_columns_that_cannot_be_carried_are_named():
    data = make_small(tags=[["u"], [], [], ["v"]])
    with pytest.warns(UserWarning, match='leaves out 1 of 1 columns; "tags".*list'):
        assert scd.open(data, vocabulary=NAMES, obs=True).obs_columns == ()


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        pytest.param(
            {"genes": [[1, 3, 9], [], [1, 5], [4, 3]]},
            "row 0 has gene id 9, which is not among the 3 ids",
            id="gene_outside_the_vocabulary",
        ),
        pytest.param(
            {"genes": [[1, 3, 4], [], [1, 5], [4, -3]]},
            "row 3 has gene id -3",
            id="negative_gene",
        ),
        pytest.param(
            {"genes": [[1, 3, 4], [], [1, 5], [4, 2**40]]},
            f"row 3 has gene id {2**40}",
            id="huge_gene",
        ),
        pytest.param(
            {"genes": [[1, 3, 4], [], [1], [4, 3]]},
            "row 2 has 1 gene ids in genes and 2 values in expressions",
            id="lists_of_different_length",
        ),
        pytest.param(
            {"expressions": [[-2.0, 1.0, 2.0], None, [-2.0, 3.0], [4.0, 5.0]]},
            "row 1 has no list in expressions: it is null",
            id="no_list",
        ),
        pytest.param(
            {"expressions": [[-2.0, 1.0, 2.0], [], [-2.0, None], [4.0, 5.0]]},
            "row 2 holds a null in its list",
            id="null_in_a_list",
        ),
    ],
)
def test_wrong_rows_are_named(columns, match):
    source = scd.open(make_small(**columns), vocabulary=NAMES)
    with pytest.raises(OSError, match=match):
        source.read(range(4))


def test_rows_of_different_width_are_named():
    data = datasets.Dataset.from_dict({"X": [[1.0, 2.0], [3.0]]})
    with pytest.raises(OSError, match="row 1 has 1 values in X, and there are 2 genes"):
        scd.open(data).read([0, 1])
    assert scd.open(data).var_names.tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        pytest.param(
            make_small(), {}, "holds genes by number, in its column", id="no_vocabulary"
        ),
        pytest.param(
            make_small(),
            {"vocabulary": {"a": 3}},
            "integer ids as keys, got 'a'; turn it around",
            id="vocabulary_the_other_way_round",
        ),
        pytest.param(
            make_small(),
            {"vocabulary": {-1: "a"}},
            "ids from 0 to 16777215, got -1",
            id="negative_id",
        ),
        pytest.param(
            make_small(),
            {"vocabulary": {}},
            "at least one, got {}",
            id="empty_vocabulary",
        ),
        pytest.param(
            make_small(),
            {"vocabulary": NAMES, "x": "layers/counts"},
            'x="layers/counts" goes with AnnData',
            id="layer",
        ),
        pytest.param(
            make_small(genes=["a", "b", "c", "d"]),
            {"vocabulary": NAMES},
            "genes is string, expected a list of numbers a cell",
            id="text",
        ),
        pytest.param(
            make_small().select([]), {"vocabulary": NAMES}, "has no rows", id="empty"
        ),
        pytest.param(
            make_small(),
            {"vocabulary": NAMES, "obs_names": True},
            "has no column that names cells",
            id="no_names",
        ),
        pytest.param(
            make_small().with_transform(dict),
            {"vocabulary": NAMES},
            "transform .* is not applied .* batch_transform",
            id="transform",
        ),
        pytest.param(
            datasets.DatasetDict({"train": make_small(), "test": make_small()}),
            {"vocabulary": NAMES},
            r'splits train, test; open one of them: open\(data\["train"\]',
            id="splits",
        ),
        pytest.param(
            make_small().to_iterable_dataset(),
            {"vocabulary": NAMES},
            "without streaming=True",
            id="streamed",
        ),
        pytest.param(
            np.eye(3),
            {"vocabulary": NAMES},
            "vocabulary goes with tables .*, and this is an array",
            id="vocabulary_of_an_array",
        ),
    ],
)
def test_what_cannot_be_opened(data, options, match):
    with pytest.raises((ValueError, TypeError, KeyError), match=match):
        scd.open(data, **options)


def test_changed_and_damaged_files_are_refused(tmp_path):
    make_dataset(make_parts()[0]).save_to_disk(tmp_path / "saved")
    source = scd.open(tmp_path / "saved", vocabulary=VOCABULARY)
    (file,) = (tmp_path / "saved").glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(scd.FileChangedError, match="changed since it was opened"):
        source.read([0])
    with pytest.raises(scd.FileFormatError, match="cannot be loaded as a data set"):
        scd.open(tmp_path / "saved", vocabulary=VOCABULARY)


def test_a_list_of_files_that_is_nested_deep(tmp_path):
    make_small().save_to_disk(tmp_path / "saved")
    (tmp_path / "saved/state.json").write_text("[" * 100_000)
    with pytest.raises(scd.FileFormatError, match="cannot be loaded as a data set"):
        scd.open(tmp_path / "saved", vocabulary=NAMES)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    make_small().save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[hf\]"):
        scd.open(tmp_path / "saved", vocabulary=NAMES)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({}, r'"drug" is Value.* in the first and not there in the second'),
        (
            {"drug": [1, 2, 1, 2]},
            r'"drug" is Value\(\'string\'\) in .* and Value\(\'int64\'\)',
        ),
        (
            {"drug": ["b"] * 4, "expressions": [[-2, 1, 2], [], [-2, 3], [4, 5]]},
            r'"expressions" is List.*float64.* in the first and List.*int64',
        ),
    ],
    ids=["absent", "numbers", "other_x"],
)
def test_folders_that_differ_in_their_columns(tmp_path, columns, match):
    make_small(drug=["a", "b", "a", "b"]).save_to_disk(tmp_path / "a")
    make_small(**columns).save_to_disk(tmp_path / "b")
    with pytest.raises(
        scd.FileFormatError, match=f"a and .*b differ in their columns: {match}"
    ):
        scd.open(tmp_path / "*", vocabulary=NAMES)


def test_folders_whose_codes_stand_for_other_labels(tmp_path):
    for folder, names in (("a", ["x", "y"]), ("b", ["y", "x"])):
        made = make_small(drug=[0, 1, 0, 1])
        made.cast_column("drug", datasets.ClassLabel(names=names)).save_to_disk(
            tmp_path / folder
        )
    with pytest.raises(scd.FileFormatError, match=r"x', 'y.* and .*y', 'x"):
        scd.open(tmp_path / "*", vocabulary=NAMES, obs=["drug"])


def test_errors_name_the_folder_and_its_row(tmp_path):
    make_small().save_to_disk(tmp_path / "a")
    make_small(genes=[[1, 3, 9], [], [1, 5], [4, 3]]).save_to_disk(tmp_path / "b")
    source = scd.open(tmp_path / "*", vocabulary=NAMES)
    assert source.files == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert source.file_starts.tolist() == [0, 4, 8]
    with pytest.raises(OSError, match=r"b: row 0 has gene id 9"):
        source.read([1, 4])


def test_a_folder_in_which_all_is_missing(tmp_path):
    make_small(drug=["a", "b", "a", "b"]).save_to_disk(tmp_path / "a")
    make_small(drug=[None] * 4).save_to_disk(tmp_path / "b")
    source = scd.open(tmp_path / "*", vocabulary=NAMES, obs=["drug"])
    assert source.obs["drug"].tolist() == [0, 1, 0, 1, -1, -1, -1, -1]
