"""The demo: its experiment, and its commands at a small size."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import comparison as module
from scdataset_core.tools import screen
from scdataset_core.tools.comparison import Outcome, compare
from scdataset_core.tools.synthetic import demo_plates, make_plates

anndata = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        # So few cells must be easy to tell apart.
        patch.setattr(screen, "LINE_SHARE", 0.05)
        make_plates(
            folder, n_plates=3, n_cells=1_200, n_genes=6_000, stored_per_cell=1_000
        )
    return folder


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """Return plates of which it does not matter how well they are learned."""
    folder = tmp_path_factory.mktemp("small")
    make_plates(folder, n_plates=3, n_cells=200, n_genes=500, stored_per_cell=100)
    return folder


@pytest.fixture(scope="module")
def small(small_folder):
    return scd.open(str(small_folder / "*.h5ad"), obs=["plate"])


@pytest.fixture(scope="module")
def source(folder):
    return scd.open(str(folder / "*.h5ad"), obs=["plate", "cell_line"])


@pytest.fixture(scope="module")
def comparison(source):
    return compare(source, "cell_line", batch_size=16, block_size=4, fetch_factor=6)


def test_every_way_is_measured(comparison, source):
    assert comparison.plate == "plate3.h5ad"
    assert comparison.n_held_out == 1_200
    assert comparison.n_train == 2_400
    assert comparison.n_classes == len(source.categories["cell_line"])
    assert comparison.too_few is None
    assert comparison.notes == ()
    names = [outcome.name for outcome in comparison.outcomes]
    assert names == ["file order", "block sampling", "true random"]
    for outcome in comparison.outcomes:
        assert outcome.loading > 0
        seen = [cells for cells, _ in outcome.curve]
        assert seen == sorted(seen)
        assert seen[-1] == 2_400
        assert len(seen) == module.WATCHED_TIMES


def test_file_order_hurts_and_block_sampling_does_not(comparison):
    in_order, in_blocks, at_random = comparison.outcomes
    assert at_random.accuracy > 0.8
    assert in_blocks.accuracy > at_random.accuracy - 0.1
    assert in_order.accuracy < at_random.accuracy / 2
    assert at_random.seconds_to(comparison.target) is not None
    assert in_blocks.seconds_to(comparison.target) is not None
    assert in_order.seconds_to(comparison.target) is None


def test_seconds_are_those_of_loading_up_to_the_accuracy():
    curve = ((100, 0.2), (200, 0.6), (300, 0.5), (400, 0.9))
    outcome = Outcome("any", 1, 1, 50.0, 1.0, 0.0, 0.9, curve)
    assert outcome.seconds_to(0.1) == pytest.approx(1)
    assert outcome.seconds_to(0.4) == pytest.approx(3)
    assert outcome.seconds_to(0.7) == pytest.approx(7)
    assert outcome.seconds_to(0.95) is None


def test_few_fetches_are_said(source):
    found = compare(source, "cell_line", batch_size=64, fetch_factor=16)
    assert found.too_few is not None
    assert found.too_few.startswith(
        "too few fetches for blocks of 16: 2,400 cells make 3 fetches of 1,024"
    )


def test_entropy_is_that_of_the_way(comparison):
    in_order, in_blocks, at_random = comparison.outcomes
    assert in_order.entropy < in_blocks.entropy - 1
    assert in_blocks.entropy < at_random.entropy
    assert at_random.entropy == pytest.approx(comparison.random_entropy, abs=0.05)


def test_same_seed_gives_the_same_model(small):
    one, two = (compare(small, "plate", batch_size=32, seed=3) for _ in range(2))
    for a, b in zip(one.outcomes, two.outcomes, strict=True):
        assert (a.accuracy, a.curve, a.entropy) == (b.accuracy, b.curve, b.entropy)


def test_progress_is_told_for_every_stage(small):
    stages: dict[str, list[int]] = {}
    compare(
        small,
        "plate",
        report=lambda stage, done, total: stages.setdefault(stage, []).append(done),
    )
    ways = ("file order", "block sampling", "true random")
    assert list(stages) == [
        f"{what}, {way}" for way in ways for what in ("train", "load")
    ]
    assert all(done[-1] == 540 for done in stages.values())


@pytest.fixture
def few(tmp_path):
    """Forty cells of dense values below and above zero, some without a label."""
    rng = np.random.default_rng(0)
    label = np.array(["a", "b"], object)[np.arange(40) % 2]
    X = rng.normal(size=(40, 6)).astype(np.float32)
    X[:, 2] += 6 * (np.arange(40) % 2)
    label[5:10] = None
    cells = anndata.AnnData(X)
    cells.obs["kind"] = label
    cells.obs["kind"] = cells.obs["kind"].astype("category")
    cells.obs["size"] = np.arange(40.0)
    cells.write_h5ad(tmp_path / "few.h5ad")
    return tmp_path / "few.h5ad"


def test_cells_without_a_label_are_left_out(few):
    found = compare(scd.open(few, obs=["kind"]), "kind", batch_size=4)
    assert found.n_train + found.n_held_out == 35
    assert found.n_classes == 2
    assert found.plate is None
    assert "5 cells without a label are left out" in found.notes
    assert any("there is one plate" in note for note in found.notes)


def test_plates_kept_before_an_interruption_are_of_use(tmp_path):
    def interrupt(stage, done, total):
        if done == 40:
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        demo_plates(tmp_path, n_plates=3, n_cells=20, n_genes=100, report=interrupt)
    [kept] = tmp_path.rglob("plate*.*")
    before = kept.stat().st_mtime_ns
    paths = demo_plates(tmp_path, n_plates=3, n_cells=20, n_genes=100)
    assert all(path.exists() for path in paths)
    assert kept.stat().st_mtime_ns == before


def test_plates_are_made_once(tmp_path):
    told: list[tuple[str, int, int]] = []

    def plates(n_cells):
        return demo_plates(
            tmp_path,
            n_plates=2,
            n_cells=n_cells,
            n_genes=100,
            report=lambda *what: told.append(what),
        )

    paths = plates(30)
    assert told[-1] == ("make plates", 60, 60)
    before = [path.stat().st_mtime_ns for path in paths]
    told.clear()
    assert plates(30) == paths
    assert told == []
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert plates(31) != paths


def test_plates_lie_in_the_cache_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [path] = demo_plates(n_plates=1, n_cells=10, n_genes=100)
    assert path.is_relative_to(tmp_path / "scdataset")


class TestCommands:
    """The same through the command line."""

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        pytest.importorskip("rich")
        pytest.importorskip("matplotlib")
        testing = pytest.importorskip("typer.testing")
        from scdataset_core.tools.commands import app

        monkeypatch.chdir(tmp_path)
        return lambda *arguments, **options: testing.CliRunner().invoke(
            app, [str(argument) for argument in arguments], **options
        )

    def test_demo_makes_plates_and_prints_a_table(self, run, tmp_path):
        small = ("--cells", 400, "--plates", 2, "--genes", 2_000)
        done = run("demo", *small, "--folder", tmp_path / "kept")
        assert done.exit_code == 0, done.output
        words = ("file order", "true random", "400 cells", "plate2.h5ad")
        for word in (*words, "too few fetches", "figure: scdataset-demo.png"):
            assert word in " ".join(done.output.split())
        assert (tmp_path / "scdataset-demo.png").read_bytes()[:4] == b"\x89PNG"
        assert len(list((tmp_path / "kept").rglob("*.h5ad"))) == 2

    def test_demo_takes_files_of_ones_own(self, run, few, tmp_path):
        done = run(
            *("demo", "--data", few, "--label", "kind", "--batch-size", 4),
            *("--figure", tmp_path / "figures" / "own.png"),
        )
        assert done.exit_code == 0, done.output
        assert "classifier of kind" in " ".join(done.output.split())
        assert (tmp_path / "figures" / "own.png").exists()

    def test_demo_takes_files_that_the_shell_listed(self, run, small_folder):
        files = sorted(small_folder.iterdir())
        done = run("demo", "--label", "plate", "--data", *files)
        assert done.exit_code == 0, done.output
        assert "540 cells" in " ".join(done.output.split())

    def test_demo_takes_a_glob(self, run, folder):
        done = run("demo", "--data", folder / "plate[12].h5ad", "--x", "obsm/X_pca")
        assert done.exit_code == 0, done.output
        assert "1,200 cells" in " ".join(done.output.split())

    def test_output_is_plain_and_fits_80_columns_in_a_pipe(self, run, few):
        done = run("demo", "--data", few, "--label", "kind", "--batch-size", 4)
        assert done.output.isascii()
        assert done.output == done.stdout
        assert not done.output.startswith("\n")
        assert max(map(len, done.output.splitlines())) <= 80
        assert done.output.index("true random") < done.output.index("figure:")

    def test_table_comes_before_the_figure_fails(self, run, few, monkeypatch):
        from scdataset_core.tools import figure

        def fail(*what):
            raise OSError(28, "the disk is full")

        monkeypatch.setattr(figure, "save_figure", fail)
        done = run("demo", "--data", few, "--label", "kind", "--batch-size", 4)
        assert done.exit_code == 1
        assert "true random" in done.output
        assert done.stderr == "scdataset: the disk is full\n"

    def test_figure_of_another_kind_of_file_is_refused(self, run, few):
        before = few.read_bytes()
        done = run("demo", "--data", few, "--label", "kind", "--figure", few)
        assert done.exit_code == 1
        assert "--figure must end in .png, .pdf or .svg" in done.output
        assert few.read_bytes() == before

    def test_help_fits_80_columns(self, run):
        for command in ((), ("demo",), ("make-data",)):
            done = run(*command, "--help")
            assert max(map(len, done.output.splitlines())) <= 80
            assert "\x1b" not in done.output

    def test_wrong_column_is_one_line_with_the_nearest_name(self, run, few):
        done = run("demo", "--data", few, "--label", "kin")
        assert done.exit_code == 1
        assert 'did you mean "kind"?' in done.output
        assert "Traceback" not in done.output

    def test_make_data_writes_plates(self, run, tmp_path):
        done = run(
            *("make-data", tmp_path / "plates", "--cells", 20, "--plates", 2),
            *("--genes", 100, "--compression", "gzip"),
        )
        assert done.exit_code == 0, done.output
        paths = sorted((tmp_path / "plates").iterdir())
        assert [path.name for path in paths] == ["plate1.h5ad", "plate2.h5ad"]
        assert all(str(path) in done.output.replace("\n", "") for path in paths)
        assert anndata.read_h5ad(paths[0]).shape == (20, 100)

    @pytest.mark.parametrize("layout", ["default", "tahoe", "cellxgene"])
    def test_make_data_writes_a_layout(self, run, tmp_path, layout):
        small = ("make-data", tmp_path, "--plates", 1, "--cells", 20, "--genes", 100)
        done = run(*small, "--layout", layout)
        assert done.exit_code == 0, done.output
        ids = anndata.read_h5ad(tmp_path / "plate1.h5ad").X.indices
        assert ids.dtype == (np.int32 if layout == "default" else np.int64)

    def test_make_data_refuses_more_stored_genes_than_fit(self, run, tmp_path):
        done = run("make-data", tmp_path / "plates", "--genes", 100, "--stored", 50)
        assert done.exit_code == 2
        assert "at most a quarter of the 100 genes, got 50" in done.output

    def test_make_data_overwrites_only_when_told(self, run, tmp_path):
        small = ("make-data", tmp_path / "p", "--plates", 2, "--genes", 100, "--cells")
        assert run(*small, 20).exit_code == 0
        done = run(*small, 30)
        assert done.exit_code == 1
        assert "plate1.h5ad and 1 more are there already" in done.output
        assert "--overwrite" in done.output
        assert anndata.read_h5ad(tmp_path / "p" / "plate2.h5ad").n_obs == 20
        assert run(*small, 30, "--overwrite").exit_code == 0
        assert anndata.read_h5ad(tmp_path / "p" / "plate2.h5ad").n_obs == 30

    @pytest.mark.parametrize(("answer", "n_obs"), [("y", 30), ("n", 20), ("", 20)])
    def test_make_data_asks_on_a_terminal(
        self, run, tmp_path, monkeypatch, answer, n_obs
    ):
        from scdataset_core.tools import commands

        small = ("make-data", tmp_path / "p", "--plates", 1, "--genes", 100, "--cells")
        run(*small, 20)
        monkeypatch.setattr(commands, "is_on_terminal", lambda: True)
        done = run(*small, 30, input=answer)
        assert "plate1.h5ad is there already. Overwrite?" in done.output
        assert done.exit_code == (answer != "y")
        assert anndata.read_h5ad(tmp_path / "p" / "plate1.h5ad").n_obs == n_obs

    def test_make_data_names_other_plates_of_the_folder(self, run, tmp_path):
        for plates in (2, 1):
            done = run(
                *("make-data", tmp_path, "--plates", plates, "--cells", 20),
                *("--genes", 100, "--overwrite"),
            )
        assert "holds other .h5ad files too: plate2.h5ad" in done.output
