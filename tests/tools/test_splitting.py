"""`scdataset split`: parts and conditions as text, and the file that is written."""

import json
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import split, splitting


@pytest.fixture
def paths(plates):
    return [str(path) for path in sorted(plates.glob("*.h5ad"))]


def test_the_file_holds_the_split_that_the_report_counts(paths, tmp_path):
    report = split(
        paths, ["train=0.9", "test=0.1"], tmp_path / "x", stratify=["drug"], seed=3
    )
    source = scd.open(paths)
    parts = scd.load_split(tmp_path / "x", source)
    expected = scd.split(source, {"train": 0.9, "test": 0.1}, stratify="drug", seed=3)
    assert dict(parts) == dict(expected)
    assert report["parts"] == {"train": len(parts["train"]), "test": len(parts["test"])}
    assert report["labels"] == parts.table()
    assert report["n_cells"] == 1200
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ("where", "conditions"),
    [
        (["drug=DMSO"], {"drug": "DMSO"}),
        (["drug=DMSO,Afatinib"], {"drug": ["DMSO", "Afatinib"]}),
        (["total_counts=300.."], {"total_counts": (300, None)}),
        (["total_counts=..300.5"], {"total_counts": (None, 300.5)}),
        (
            ["total_counts=250..330", "drug=DMSO"],
            {"total_counts": (250, 330), "drug": "DMSO"},
        ),
    ],
)
def test_conditions_are_text(paths, tmp_path, where, conditions):
    split(paths, ["all=rest"], tmp_path / "x", where=where)
    source = scd.open(paths)
    assert scd.load_split(tmp_path / "x", source)["all"] == source.where(**conditions)


def test_parts_are_named_by_labels(paths, tmp_path):
    split(paths, ["test=plate:plate1,plate3", "train=rest"], tmp_path / "x")
    parts = scd.load_split(tmp_path / "x", scd.open(paths))
    assert list(parts) == ["test", "train"]
    np.testing.assert_array_equal(parts["train"].to_numpy(), np.arange(400, 800))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ["train"]}, "a part is given as"),
        ({"parts": ["train=much"]}, "a part gets a share"),
        ({"parts": ["a=0.5", "a=0.5"]}, "named twice"),
        ({"parts": ["a=plat:plate1", "b=rest"]}, 'mean "plate"'),
        ({"parts": ["a=plate:plate9", "b=rest"]}, "no label 'plate9'"),
        ({"where": ["drug"]}, "a condition is"),
        ({"where": ["drug=DMSO", "drug=Afatinib"]}, "a column twice"),
        ({"where": ["total_counts=many"]}, "holds numbers"),
        ({"where": ["total_counts=nan"]}, "give nothing for cells that lack one"),
    ],
)
def test_text_that_says_nothing_is_refused(paths, tmp_path, options, message):
    given = {"parts": ["all=rest"], "out": tmp_path / "x", **options}
    with pytest.raises((ValueError, TypeError), match=message):
        split(paths, **given)
    assert not (tmp_path / "x").exists()


@pytest.fixture
def named(tmp_path):
    ad = pytest.importorskip("anndata")
    pd = pytest.importorskip("pandas")
    drugs = ["4,5-dianilinophthalimide", "4", "DMSO", "a", "b", "a,b"]
    obs = {
        "drug": pd.Categorical(drugs * 2),
        "cell": np.arange(12) + 2**53,
        "good": np.arange(12) < 4,
        "share": np.linspace(0, 1, 12),
    }
    table = pd.DataFrame(obs, index=[f"cell{i}" for i in range(12)])
    ad.AnnData(np.ones((12, 2), np.float32), obs=table).write_h5ad(tmp_path / "n.h5ad")
    return str(tmp_path / "n.h5ad")


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("drug=4,5-dianilinophthalimide", [0, 6]),
        ("drug=DMSO,4,5-dianilinophthalimide,4", [0, 1, 2, 6, 7, 8]),
        ("drug=b,a", [3, 4, 9, 10]),
        (f"cell={2**53 + 1}", [1]),
        (f"cell={2**53 + 9}..", [9, 10, 11]),
        ("share=..inf", list(range(12))),
        ("good=TRUE", [0, 1, 2, 3]),
    ],
)
def test_labels_may_hold_commas_and_numbers_are_exact(named, tmp_path, where, rows):
    split(named, ["all=rest"], tmp_path / "x", where=[where])
    found = scd.load_split(tmp_path / "x", scd.open(named))["all"]
    assert found.to_numpy().tolist() == rows


def test_many_labels_may_be_listed():
    labels = [f"label {number}" for number in range(20_000)]
    labels += ["some, with commas, in them"]
    found = splitting._labels_in(",".join(labels), labels, "drug")
    assert found == labels


@pytest.mark.parametrize(
    ("where", "message"),
    [("drug=a,b", "could be a list"), ("good=1", "give true or false")],
)
def test_conditions_that_could_mean_several_things_are_refused(
    named, tmp_path, where, message
):
    with pytest.raises(ValueError, match=message):
        split(named, ["all=rest"], tmp_path / "x", where=[where])


def test_the_data_are_not_replaced_by_their_split(named):
    before = Path(named).read_bytes()
    with pytest.raises(FileExistsError, match="one of those that are split"):
        split(named, ["all=rest"], named)
    assert Path(named).read_bytes() == before


def test_the_folder_of_a_split_is_made(paths, tmp_path):
    split(paths, ["all=rest"], tmp_path / "new" / "splits" / "x")
    parts = scd.load_split(tmp_path / "new" / "splits" / "x", scd.open(paths))
    assert len(parts["all"]) == 1200


def test_the_command_prints_a_table_or_json(plates, tmp_path):
    testing = pytest.importorskip("typer.testing")
    pytest.importorskip("rich")
    from scdataset_core.tools.commands import app

    command = ["split", str(plates / "*.h5ad"), "--out", str(tmp_path / "x")]
    done = testing.CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "960  120   120" in done.output
    done = testing.CliRunner().invoke(app, [*command, "--by", "plate", "--json"])
    assert done.exit_code == 0
    assert sorted(json.loads(done.output)["parts"].values()) == [400, 400, 400]
    done = testing.CliRunner().invoke(app, [*command, "--part", "a=0.1"])
    assert done.exit_code == 1
    assert "must add up to 1" in done.output
