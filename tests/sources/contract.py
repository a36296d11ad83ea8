"""What every source of cells must do, whatever its format.

A format's tests subclass `SourceContract` and say how three `AnnData` are written, and
what is then opened.
"""

import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.sources.base import Source
from scdataset_core.storage import ReadContext
from tests.sources.loader_contract import LoaderContract
from tests.sources.small_cells import (
    FORMS,
    LINES,
    N_GENES,
    dense_of,
    make_parts,
    one_of,
    spoken,
)


class SourceContract(LoaderContract):
    """The behaviours of every source.

    The tests of a format subclass this class and implement `write`; if `scd.open` does
    not open what `write` returns, `open` too. The class attributes say what else
    differs: set those that do not hold for the format.
    """

    sparse = True
    one_file = False  # whether all parts end up in one file or object
    has_block_starts = True  # whether the source knows where its storage chunks start
    knows_lengths = True  # whether it knows how long sparse rows are before reading

    @classmethod
    def write(cls, folder: Path, parts: list[ad.AnnData]) -> Any:
        """Write `parts` below `folder` and return what `open` is given."""
        raise NotImplementedError

    @classmethod
    def open(cls, data: Any, **options: Any) -> Source:
        """Open what `write` returned."""
        return scd.open(data, **options)

    @pytest.fixture(scope="class")
    @classmethod
    def parts(cls) -> list[ad.AnnData]:
        return make_parts()

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, parts: list[ad.AnnData], tmp_path_factory: Any) -> Any:
        return cls.write(tmp_path_factory.mktemp("data"), parts)

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, parts: list[ad.AnnData]) -> ad.AnnData:
        with warnings.catch_warnings():
            # AnnData's own use of pandas, which concat is used for here alone.
            warnings.simplefilter("ignore")
            return ad.concat(parts)

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, data: Any) -> Source:
        return cls.open(data, obs=["line", "number", "score", "passed"])

    @pytest.mark.parametrize("carried", [True, False])
    def test_rows_are_found_by_labels_and_numbers(
        self, data: Any, source: Source, whole: ad.AnnData, carried: bool
    ) -> None:
        if not carried:
            source = self.open(data)
        obs = whole.obs
        line, score = obs["line"].to_numpy(), obs["score"].to_numpy()
        number = obs["number"].to_numpy()
        low, high = np.sort(score)[[10, -20]]
        # All columns together, so that they are opened once.
        source.where(line=None, score=None, number=None, passed=None)
        found = {
            "one label": (source.where(line="A549"), line == "A549"),
            "labels": (
                source.where(line=["MCF7", "HCT15"]),
                np.isin(line, ["MCF7", "HCT15"]),
            ),
            "range": (
                source.where(score=(low, high)),
                (score >= low) & (score <= high),
            ),
            "numbers": (source.where(number=[3, 60]), np.isin(number, [3, 60])),
            "booleans": (source.where(passed=True), obs["passed"].to_numpy()),
            "missing": (source.where(line=None), np.zeros(len(source), bool)),
            "all of them": (
                source.where(number < 80, line="MCF7", number=(30, None)),
                (number < 80) & (line == "MCF7") & (number >= 30),
            ),
        }
        for what, (rows, mask) in found.items():
            np.testing.assert_array_equal(rows.to_numpy(), np.flatnonzero(mask), what)
        with pytest.raises(scd.MissingNameError, match='did you mean "line"'):
            source.where(lin="A549")
        with pytest.raises(scd.MissingNameError, match='did you mean "A549"'):
            source.where(line="A-549")

    def check(self, source: Source, whole: ad.AnnData, cells: Any) -> None:
        """Check that X, obs and index of every cell are of the same cell."""
        rows = cells["index"]
        x = dense_of(cells["X"])
        np.testing.assert_array_equal(x, whole.X.toarray()[rows].astype(x.dtype))
        np.testing.assert_array_equal(x[:, 0], rows + 1)
        np.testing.assert_array_equal(cells["obs"]["number"], rows)
        assert spoken(source, cells, "line") == whole.obs["line"].iloc[rows].tolist()
        for name in ("score", "passed"):
            want = whole.obs[name].to_numpy()[rows]
            np.testing.assert_array_equal(cells["obs"][name], want)

    def test_shape_names_and_types(self, source, whole):
        assert len(source) == whole.n_obs
        assert source.shape == whole.shape
        assert source.var_names.tolist() == whole.var_names.tolist()
        assert source.dtype == np.float32
        assert source.sparse == self.sparse
        assert source.obs_columns == ("line", "number", "score", "passed")
        assert source.natural_block >= 1
        assert source.file_starts[0] == 0
        assert source.file_starts[-1] == len(source)
        dtypes = {name: values.dtype for name, values in source.obs.items()}
        assert dtypes["line"] == np.int32
        assert dtypes["number"].kind == "i"
        assert dtypes["score"] == np.float32
        assert dtypes["passed"] == np.bool_

    def test_a_list_of_labels_keeps_its_order(self, source):
        assert source.categories == {"line": LINES}

    def test_read_gives_rows_in_order(self, source, whole):
        rows = np.array([0, 1, 1, 36, 37, 86, 87, 99])
        cells = source.read(rows)
        assert cells["index"].tolist() == rows.tolist()
        self.check(source, whole, cells)

    def test_read_gives_rows_at_their_places(self, source, whole):
        places = np.random.default_rng(1).permutation(len(source))
        cells = source.read(np.arange(len(source)), places)
        np.testing.assert_array_equal(cells["index"][places], np.arange(len(source)))
        self.check(source, whole, cells)

    def test_read_of_no_rows_is_empty(self, source):
        cells = source.read([])
        assert one_of(cells["X"]).shape == (0, N_GENES)
        assert [len(values) for values in cells["obs"].values()] == [0] * 4

    @given(data=st.data())
    @settings(
        max_examples=settings().max_examples // 2,
        suppress_health_check=[
            # The fixtures are read only.
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    def test_batches_hold_any_rows_at_any_places(self, source, whole, data):
        form = data.draw(st.sampled_from(FORMS))
        n = len(source)
        rows = np.sort(data.draw(st.lists(st.integers(0, n - 1), max_size=60)))
        rows = rows.astype(np.int64)
        places = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)
        cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
        bounds = np.array([0, *sorted(cuts), len(rows)])
        of_place = np.empty_like(rows)
        of_place[places] = rows
        with ReadContext(2) as context:
            parts = source.read_batches(rows, places, bounds, form, context)
        assert [part.n_cells for part in parts] == np.diff(bounds).tolist()
        for part, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True):
            np.testing.assert_array_equal(part["index"], of_place[start:stop])
            self.check(source, whole, part)
            x = one_of(part["X"])
            values = x["values"] if form.output == "padded" else x
            assert values.dtype == (form.dtype or source.dtype)

    @pytest.mark.parametrize(
        "genes",
        [["gene7", "gene0", "gene2"], [7, 0, 2], np.array([7, 0, 2])],
        ids=["names", "positions", "array"],
    )
    def test_genes_come_alone_and_in_the_order_wanted(self, data, whole, genes):
        source = self.open(data, genes=genes)
        assert source.var_names.tolist() == ["gene7", "gene0", "gene2"]
        rows = np.arange(0, len(source), 3)
        want = whole.X.toarray()[rows][:, [7, 0, 2]]
        for form in (
            source.stored_form,
            Form("dense", np.dtype(np.float16)),
            Form("csr"),
        ):
            with ReadContext(1) as context:
                bounds = np.array([0, 10, len(rows)])
                places = np.arange(len(rows))
                parts = source.read_batches(rows, places, bounds, form, context)
            got = np.concatenate([dense_of(part["X"]) for part in parts])
            np.testing.assert_array_equal(got, want)
        assert source.longest_row() <= 3

    def test_all_columns_are_those_that_can_be_carried(self, data):
        source = self.open(data, obs=True)
        assert set(source.obs_columns) == {"line", "number", "score", "passed"}

    def test_no_columns_by_default(self, data):
        source = self.open(data)
        assert source.read([0])["obs"] == {}
        assert dict(source.obs) == {}

    def test_columns_are_read_whole(self, source, whole):
        assert list(source.obs) == ["line", "number", "score", "passed"]
        np.testing.assert_array_equal(source.obs["number"], np.arange(len(source)))
        np.testing.assert_array_equal(source.obs["score"], whole.obs["score"])

    def test_codes_are_decoded(self, source, whole):
        n_labels = len(source.categories["line"])
        cells = source.read(np.arange(len(source)))
        labels = source.decode("line", cells["obs"]["line"])
        assert labels.dtype == object
        assert labels.tolist() == spoken(source, cells, "line")
        assert source.decode("line", -1).shape == ()
        assert source.decode("line", -1).item() is None
        with pytest.raises(
            IndexError, match=f'no code {n_labels} in obs column "line"'
        ):
            source.decode("line", [0, n_labels])
        numbers = next(n for n in source.obs_columns if n not in source.categories)
        with pytest.raises(TypeError, match=f'obs column "{numbers}" holds '):
            source.decode(numbers, [0])

    def test_missing_column_names_the_nearest(self, data):
        with pytest.raises(ValueError, match=r'"lines".*did you mean "line"'):
            self.open(data, obs=["lines"])

    def test_saved_vocabulary_encodes_alike(self, data):
        with pytest.warns(UserWarning, match="1 labels are not in the saved") as caught:
            source = self.open(
                data, obs=["line"], categories={"line": ["HCT15", "new", "A549"]}
            )
        assert len(caught) == 1
        plain = self.open(data, obs=["line"])
        want = np.array([-1, 2, 0])[plain.obs["line"]]
        np.testing.assert_array_equal(source.obs["line"], want)
        assert source.categories == {"line": ["HCT15", "new", "A549"]}

    def test_unknown_gene_names_the_nearest(self, data):
        with pytest.raises(ValueError, match=r'"gene77".*did you mean "gene7"'):
            self.open(data, genes=["gene77"])

    def test_repeated_gene_is_refused(self, data):
        with pytest.raises(ValueError, match="must not repeat, got twice: gene1"):
            self.open(data, genes=["gene1", "gene2", "gene1"])

    def test_position_outside_is_refused(self, data):
        with pytest.raises(IndexError, match="position 11, and the genes are 0 to 10"):
            self.open(data, genes=[3, 11])

    @pytest.mark.parametrize(
        ("rows", "error", "match"),
        [
            pytest.param([3, 2], ValueError, "must not decrease", id="falling"),
            pytest.param([-1], IndexError, "row -1 is outside", id="negative"),
            pytest.param([0, 100], IndexError, "row 100 is outside", id="too_large"),
            pytest.param([0.5], ValueError, "array of integers", id="fractions"),
        ],
    )
    def test_wrong_rows_are_refused(self, source, rows, error, match):
        with pytest.raises(error, match=match):
            source.read(rows)

    def test_names_of_cells_are_carried_when_asked_for(self, data, whole):
        rows, places = np.array([3, 40, 99]), np.array([2, 0, 1])
        adata = self.open(data, obs_names=True).read(rows, places).to_anndata()
        assert adata.obs_names.tolist() == ["cell40", "cell99", "cell3"]
        adata = self.open(data).read(rows, places).to_anndata()
        assert adata.obs_names.tolist() == ["40", "99", "3"]

    def test_longest_row_and_mean(self, source, whole):
        stored = np.diff(whole.X.indptr) if self.sparse else [N_GENES]
        assert source.longest_row() == max(stored)
        assert source.mean_stored == pytest.approx(np.mean(stored))

    def test_lengths_of_rows_are_known_before_reading_or_refused(self, data, whole):
        source = self.open(data)
        rows = np.array([5, 99, 0, 5, 41])
        if not (self.sparse and self.knows_lengths):
            with pytest.raises(ValueError, match="the length of rows of a"):
                source.row_lengths(rows)
            return
        lengths = np.diff(whole.X.indptr)
        assert source.row_lengths().tolist() == lengths.tolist()
        assert source.row_lengths(rows).tolist() == lengths[rows].tolist()
        with pytest.raises(ValueError, match="lengths of rows are not known where"):
            self.open(data, genes=["gene3"]).row_lengths(rows)

    def test_padded_minibatches_of_several_widths(self, data, whole):
        if not (self.sparse and self.knows_lengths):
            return
        loader = scd.Loader(
            self.open(data),
            scd.BlockShuffling(4),
            batch_size=8,
            fetch_factor=4,
            output="padded",
            width=[4, 6, N_GENES],
        )
        batches = list(loader)
        found = np.concatenate([batch["index"] for batch in batches])
        assert sorted(found[found >= 0].tolist()) == list(range(len(whole)))
        for batch in batches:
            x, real = batch["X"], batch["index"] >= 0
            wanted = whole.X[batch["index"][real]].toarray()
            np.testing.assert_array_equal(dense_of(x)[real], wanted)
            width = min(w for w in (4, 6, N_GENES) if w >= x["length"].max())
            assert x["values"].shape == x["indices"].shape == (8, width)
        assert len({batch["X"]["values"].shape for batch in batches}) > 1

    def test_fingerprint_is_of_contents_not_of_paths(self, source, parts, tmp_path):
        again = self.open(self.write(tmp_path, parts), obs=["line"])
        assert again.fingerprint == source.fingerprint
        fewer = [part[:-1].copy() for part in parts]
        (tmp_path / "fewer").mkdir()
        other = self.open(self.write(tmp_path / "fewer", fewer))
        assert other.fingerprint != source.fingerprint

    def test_block_starts_lie_on_a_grid_of_each_file(self, source):
        starts = source.block_starts
        assert (starts is not None) == self.has_block_starts
        if not self.has_block_starts:
            with pytest.raises(ValueError, match="storage"):
                next(iter(scd.Loader(source, scd.BlockShuffling("storage"))))
            return
        assert starts.dtype == np.int64
        assert starts[0] == 0
        assert np.all(np.diff(starts) > 0)
        assert starts[-1] < len(source)
        assert set(source.file_starts[:-1].tolist()) <= set(starts.tolist())

    def test_repr_says_what_it_is(self, source):
        text = repr(source)
        assert max(map(len, text.splitlines())) < 80
        assert "100 cells x 11 genes" in text
        assert "line" in text

    def test_pickles_and_reads_again(self, source, whole):
        copy = pickle.loads(pickle.dumps(source))
        assert copy.fingerprint == source.fingerprint
        self.check(copy, whole, copy.read([0, 50, 99]))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    # Python's own advice, which the fork below goes against on purpose.
    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_reads_in_a_forked_process(self, source, whole):
        source.read([0, 99])
        with multiprocessing.get_context("fork").Pool(1) as pool:
            cells = pool.apply(source.read, ([0, 40, 99],))
        self.check(source, whole, cells)

    # To a source, a process of a fork server is one that was spawned.
    @pytest.mark.slow
    def test_reads_in_a_spawned_process(self, source, whole, spawned):
        source.read([0, 99])
        self.check(source, whole, spawned.apply(source.read, ([0, 40, 99],)))

    def test_reads_from_several_threads_at_once(self, source, whole):
        rng = np.random.default_rng(5)
        wanted = [np.sort(rng.integers(0, len(source), 40)) for _ in range(12)]
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(source.read, wanted))
        for rows, cells in zip(wanted, read, strict=True):
            np.testing.assert_array_equal(cells["index"], rows)
            self.check(source, whole, cells)
