"""Which cells are trained on and which are held out, for any obs column."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import held_out
from scdataset_core.tools.held_out import make_split

anndata = pytest.importorskip("anndata")
pd = pytest.importorskip("pandas")


def write(folder, *plates, n_genes=4):
    """Write a plate for each mapping of obs columns, and open them."""
    paths = []
    for number, columns in enumerate(plates, 1):
        n_cells = len(next(iter(columns.values())))
        obs = pd.DataFrame(columns, index=[f"c{i}" for i in range(n_cells)])
        paths.append(folder / f"plate{number}.h5ad")
        X = np.ones((n_cells, n_genes), np.float32)
        anndata.AnnData(X, obs=obs).write_h5ad(paths[-1])
    return scd.open(paths, obs=list(plates[0]))


def labels(text):
    return pd.Categorical([None if c == "." else c for c in text])


def test_last_plate_is_held_out(tmp_path):
    source = write(tmp_path, *({"kind": labels("abab" * 3)} for _ in range(3)))
    found = make_split(source, "kind", seed=0)
    assert found.plate == "plate3.h5ad"
    assert found.train.tolist() == list(range(24))
    assert found.held_out.tolist() == list(range(24, 36))
    assert found.notes == ()


def test_plate_whose_labels_no_other_has_is_not_held_out(tmp_path):
    kinds = ("abab" * 3, "abab" * 3, "cdcd" * 3)
    source = write(tmp_path, *({"kind": labels(text)} for text in kinds))
    found = make_split(source, "kind", seed=0)
    assert found.plate == "plate2.h5ad"
    assert found.train.tolist() == [*range(12), *range(24, 36)]


def test_cells_of_all_plates_are_drawn_where_each_has_labels_of_its_own(tmp_path):
    source = write(tmp_path, *({"kind": labels(c * 20)} for c in "abc"))
    found = make_split(source, "kind", seed=0)
    assert found.plate is None
    assert len(found.held_out) == 6
    both = np.concatenate([found.train, found.held_out])
    assert np.array_equal(np.sort(both), np.arange(60))
    assert "drawn from all plates" in found.notes[0]
    again = make_split(source, "kind", seed=0)
    assert np.array_equal(found.held_out, again.held_out)
    other = make_split(source, "kind", seed=1)
    assert not np.array_equal(found.held_out, other.held_out)


def test_cells_without_a_label_and_with_one_of_their_own(tmp_path):
    kinds = ("abab..abab", "ab..abx")
    source = write(tmp_path, *({"kind": labels(text)} for text in kinds))
    found = make_split(source, "kind", seed=0)
    assert found.train.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert found.held_out.tolist() == [10, 11, 14, 15]  # nothing is known of x
    assert found.notes == ("4 cells without a label are left out",)


def test_few_numbers_are_labels(tmp_path):
    day = np.tile([3.0, 7.0, np.nan], 10)
    source = write(tmp_path, {"day": day}, {"day": day})
    found = make_split(source, "day", seed=0)
    assert found.n_classes == 2
    assert found.codes[:3].tolist() == [0, 1, -1]


def test_booleans_are_labels(tmp_path):
    good = np.tile([True, False], 10)
    found = make_split(write(tmp_path, {"good": good}, {"good": good}), "good", seed=0)
    assert found.n_classes == 2
    assert found.codes[:2].tolist() == [1, 0]


def test_many_numbers_are_cut_into_quarters(tmp_path):
    size = np.random.default_rng(0).permutation(200) / 7
    found = make_split(write(tmp_path, {"size": size}, {"size": size}), "size", seed=0)
    assert np.bincount(found.codes).tolist() == [100, 100, 100, 100]
    assert found.codes[size.argmax()] == 3
    assert found.notes == ("size holds numbers: its quarters are the labels",)


def test_at_most_so_many_cells_are_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out, "HELD_OUT_MOST", 5)
    source = write(tmp_path, *({"kind": labels("ab" * 20)} for _ in range(2)))
    found = make_split(source, "kind", seed=0)
    assert len(found.held_out) == 5
    assert len(found.train) == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "ab" * 4, "at least 10 cells must have a label in .+, 8 do", id="few"
        ),
        pytest.param("a" * 20, 'all cells have the same label in "kind"', id="same"),
        pytest.param("abcdefghijkl", "no two cells have the same label", id="own"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        make_split(write(tmp_path, {"kind": labels(text)}), "kind", seed=0)


def test_more_labels_than_memory_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out, "WEIGHTS_MOST", 8)
    source = write(tmp_path, {"kind": labels("abcd" * 5)})
    with pytest.raises(ValueError, match="4 labels; with 4 genes the demo can learn 2"):
        make_split(source, "kind", seed=0)
