"""Hugging Face data sets as sources, written by `datasets`."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.contract import SourceContract
from tests.sources.small_cells import N_GENES, make_parts

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
from tests.sources.tables.data_sets import (  # noqa: E402
    FEATURES,
    NAMES,
    VOCABULARY,
    columns_of,
    make_dataset,
    make_small,
)


class TestSavedFolder(SourceContract):
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        whole = datasets.concatenate_datasets([make_dataset(part) for part in parts])
        whole.save_to_disk(folder / "saved", num_shards=3)
        return str(folder / "saved")

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, vocabulary=VOCABULARY, **options)


class TestFolders(TestSavedFolder):
    @classmethod
    def write(cls, folder, parts):
        for number, part in enumerate(parts):
            make_dataset(part).save_to_disk(folder / f"part{number}")
        return str(folder / "part*")


class TestMapped(TestSavedFolder):
    @classmethod
    def write(cls, folder, parts):
        return datasets.load_from_disk(super().write(folder, parts))


class TestInMemory(TestSavedFolder):
    """Concatenated, in memory, without markers, of small ids."""

    @classmethod
    def write(cls, folder, parts):
        whole = [make_dataset(part, marker=False) for part in parts]
        features = whole[0].features.copy()
        features["genes"] = datasets.LargeList(datasets.Value("uint16"))
        features["expressions"] = datasets.LargeList(datasets.Value("float32"))
        return datasets.concatenate_datasets(whole).cast(features)


class TestSelected(TestSavedFolder):
    """A choice of rows, in an order of its own, of shuffled ones."""

    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        saved = datasets.load_from_disk(super().write(folder, parts))
        order = np.random.default_rng(0).permutation(len(saved))
        back = np.argsort(order)
        return saved.select(order).flatten_indices().select(back)


class TestSliced(TestSavedFolder):
    """Slices of longer ones, whose offsets do not begin at 0."""

    @classmethod
    def write(cls, folder, parts):
        out = []
        for number, part in enumerate(parts):
            one = make_dataset(part)
            datasets.concatenate_datasets([one, one, one]).save_to_disk(
                folder / f"long{number}"
            )
            saved = datasets.load_from_disk(folder / f"long{number}")
            out.append(saved.select(range(part.n_obs, 2 * part.n_obs)))
        return datasets.concatenate_datasets(out)


class TestDense(TestSavedFolder):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        whole = datasets.concatenate_datasets(
            [
                datasets.Dataset.from_dict(
                    {"X": part.X.toarray(), **columns_of(part)},
                    datasets.Features(
                        {
                            "X": datasets.Sequence(
                                datasets.Value("float32"), length=N_GENES
                            ),
                            **FEATURES,
                        }
                    ),
                )
                for part in parts
            ]
        )
        whole.save_to_disk(folder / "dense")
        return str(folder / "dense")

    @classmethod
    def open(cls, data, **options):
        names = list(VOCABULARY.values())
        return scd.open(data, vocabulary=names, **options)


class TestDenseOfAnyLength(TestDense):
    @classmethod
    def write(cls, folder, parts):
        fixed = datasets.load_from_disk(super().write(folder, parts))
        features = fixed.features.copy()
        features["X"] = datasets.Sequence(datasets.Value("float32"))
        return fixed.cast(features)


def test_only_markers_are_dropped_and_empty_rows_stay():
    source = scd.open(make_small(), vocabulary=NAMES)
    want = [[1, 2, 0], [0, 0, 0], [0, 0, 3], [5, 4, 0]]
    np.testing.assert_array_equal(source.read(range(4))["X"].toarray(), want)


def test_a_negative_value_of_a_gene_is_no_marker():
    data = make_small(expressions=[[-2.0, -1.0, 2.0], [], [-2.0, -3.0], [-4.0, 5.0]])
    source = scd.open(data, vocabulary=NAMES)
    want = [[-1, 2, 0], [0, 0, 0], [0, 0, -3], [5, -4, 0]]
    np.testing.assert_array_equal(source.read(range(4))["X"].toarray(), want)


def test_missing_labels_and_numbers():
    data = make_small(
        drug=["x", None, "w", "x"], dose=[1, None, 3, 4], fine=[True, False, True, True]
    )
    source = scd.open(data, vocabulary=NAMES, obs=True)
    assert source.categories == {"drug": ["w", "x"]}
    obs = source.read(range(4))["obs"]
    assert obs["drug"].tolist() == [1, -1, 0, 1]
    np.testing.assert_array_equal(obs["dose"], [1, np.nan, 3, 4])
    assert obs["fine"].dtype == np.bool_


def test_columns_of_other_names():
    data = make_small().rename_columns({"genes": "ids", "expressions": "counts"})
    with pytest.raises(ValueError, match="none of its columns is known to hold X"):
        scd.open(data, vocabulary=NAMES)
    source = scd.open(data, vocabulary=NAMES, columns=("ids", "counts"))
    assert source.read([2])["X"].toarray().tolist() == [[0, 0, 3]]
    with pytest.raises(KeyError, match=r'no column "count".*did you mean "counts"'):
        scd.open(data, vocabulary=NAMES, columns=("ids", "count"))


def test_a_shuffled_data_set_keeps_its_order(tmp_path):
    make_dataset(make_parts()[0]).save_to_disk(tmp_path / "saved")
    data = datasets.load_from_disk(tmp_path / "saved").shuffle(seed=1)
    source = scd.open(data, vocabulary=VOCABULARY, obs=["number"])
    assert source.obs["number"].tolist() == data["number"][:]
    rows = np.array([0, 0, 5, 36])
    np.testing.assert_array_equal(
        source.read(rows)["obs"]["number"], np.array(data["number"][:])[rows]
    )
    other = scd.open(data.shuffle(seed=2), vocabulary=VOCABULARY)
    assert other.fingerprint != source.fingerprint


def test_a_mapped_source_pickles_as_its_paths(tmp_path):
    make_dataset(make_parts()[1]).save_to_disk(tmp_path / "saved")
    sent = pickle.dumps(scd.open(tmp_path / "saved", vocabulary=VOCABULARY))
    assert len(sent) < 10_000


def test_splits_are_opened_one_at_a_time(tmp_path):
    splits = datasets.DatasetDict({"train": make_small(), "test": make_small()})
    splits.save_to_disk(tmp_path / "splits")
    with pytest.raises(scd.FileFormatError, match="holds the splits train, test"):
        scd.open(tmp_path / "splits", vocabulary=NAMES)
    assert len(scd.open(tmp_path / "splits" / "train", vocabulary=NAMES)) == 4


def test_columns_that_are_cut_in_other_places():
    """Of as many chunks, and one of the same length, but of other rows."""

    def make(sizes, **columns):
        edges = np.cumsum([0, *sizes])
        return datasets.concatenate_datasets(
            [
                datasets.Dataset.from_dict(
                    {name: values[a:b] for name, values in columns.items()}
                )
                for a, b in pairwise(edges)
            ]
        )

    number = list(range(7))
    genes, values = [[3]] * 7, [[float(n)] for n in number]
    left = make([2, 3, 2], genes=genes, expressions=values)
    right = make([1, 3, 3], number=number)
    beside = datasets.concatenate_datasets([left, right], axis=1)
    source = scd.open(beside, vocabulary=NAMES, obs=["number"])
    cells = source.read(number)
    assert cells["X"].toarray()[:, 0].tolist() == number
    assert cells["obs"]["number"].tolist() == number
