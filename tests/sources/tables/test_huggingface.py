"""Hugging Face data sets as sources, written by `datasets`."""

import pickle
import sys

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.contract import SourceContract
from tests.sources.small_cells import LINES, N_GENES, make_parts

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
datasets.disable_progress_bars()

FIRST = 3  # ids below are tokens that are no genes
VOCABULARY = {FIRST + i: f"gene{i}" for i in range(N_GENES)}


def columns_of(part):
    """Return a part's obs, as columns of a data set."""
    return {
        "line": part.obs["line"].cat.codes.to_numpy(np.int64),
        "number": part.obs["number"].to_numpy(),
        "score": part.obs["score"].to_numpy(),
        "passed": part.obs["passed"].to_numpy(),
        "obs_names": part.obs_names.tolist(),
    }


FEATURES = {
    "line": datasets.ClassLabel(names=LINES),
    "number": datasets.Value("int64"),
    "score": datasets.Value("float32"),
    "passed": datasets.Value("bool"),
    "obs_names": datasets.Value("string"),
}


def lists(part, marker):
    """Return gene ids and values of each row, with a marker in front or not."""
    X = part.X.tocsr()
    rows = [slice(*X.indptr[i : i + 2]) for i in range(part.n_obs)]
    genes = [(X.indices[row] + FIRST).tolist() for row in rows]
    values = [X.data[row].tolist() for row in rows]
    if marker:
        genes, values = [[1, *g] for g in genes], [[-2.0, *v] for v in values]
    return genes, values


def make_dataset(part, marker=True):
    """Return a part in the layout of Tahoe-100M, in memory."""
    genes, values = lists(part, marker)
    return datasets.Dataset.from_dict(
        {"genes": genes, "expressions": values, **columns_of(part)},
        datasets.Features(
            {
                "genes": datasets.Sequence(datasets.Value("int64")),
                "expressions": datasets.Sequence(datasets.Value("float32")),
                **FEATURES,
            }
        ),
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


class Variant(TestSavedFolder):
    """Another way to hold the same; one other process is enough."""

    @pytest.mark.parametrize(
        "method", [pytest.param("spawn", marks=pytest.mark.slow), "fork"]
    )
    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_reads_in_other_processes(self, source, whole, method):
        super().test_reads_in_other_processes(source, whole, method)


class TestFolders(Variant):
    @classmethod
    def write(cls, folder, parts):
        for number, part in enumerate(parts):
            make_dataset(part).save_to_disk(folder / f"part{number}")
        return str(folder / "part*")


class TestMapped(Variant):
    @classmethod
    def write(cls, folder, parts):
        return datasets.load_from_disk(super().write(folder, parts))


class TestInMemory(Variant):
    """Concatenated, in memory, without markers, of small ids."""

    @classmethod
    def write(cls, folder, parts):
        whole = [make_dataset(part, marker=False) for part in parts]
        features = whole[0].features.copy()
        features["genes"] = datasets.LargeList(datasets.Value("uint16"))
        features["expressions"] = datasets.LargeList(datasets.Value("float32"))
        return datasets.concatenate_datasets(whole).cast(features)


class TestSelected(Variant):
    """A choice of rows, in an order of its own, of shuffled ones."""

    has_block_starts = False

    @classmethod
    def write(cls, folder, parts):
        saved = datasets.load_from_disk(super().write(folder, parts))
        order = np.random.default_rng(0).permutation(len(saved))
        back = np.argsort(order)
        return saved.select(order).flatten_indices().select(back)


class TestSliced(Variant):
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


class TestDense(Variant):
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


def make_small(**columns):
    """Return four cells; `columns` replace or add to theirs."""
    held = {
        "genes": [[1, 3, 4], [], [1, 5], [4, 3]],
        "expressions": [[-2.0, 1.0, 2.0], [], [-2.0, 3.0], [4.0, 5.0]],
    }
    return datasets.Dataset.from_dict({**held, **columns})


NAMES = {3: "a", 4: "b", 5: "c"}


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


def test_columns_that_cannot_be_carried_are_named():
    data = make_small(tags=[["u"], [], [], ["v"]])
    with pytest.warns(UserWarning, match='leaves out 1 of 1 columns; "tags".*list'):
        assert scd.open(data, vocabulary=NAMES, obs=True).obs_columns == ()


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


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    make_small().save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[hf\]"):
        scd.open(tmp_path / "saved", vocabulary=NAMES)


def test_splits_are_opened_one_at_a_time(tmp_path):
    splits = datasets.DatasetDict({"train": make_small(), "test": make_small()})
    splits.save_to_disk(tmp_path / "splits")
    with pytest.raises(scd.FileFormatError, match="holds the splits train, test"):
        scd.open(tmp_path / "splits", vocabulary=NAMES)
    assert len(scd.open(tmp_path / "splits" / "train", vocabulary=NAMES)) == 4
