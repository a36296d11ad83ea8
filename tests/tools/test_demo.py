"""The demo: its experiment, and its commands at a small size."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import demo, screen
from scdataset_core.tools.demo import compare, demo_plates
from scdataset_core.tools.synthetic import make_plates

anndata = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        # So few cells must be easy to tell apart.
        patch.setattr(screen, "LINE_SHARE", 0.05)
        make_plates(
            folder, n_plates=2, n_cells=1_500, n_genes=6_000, stored_per_cell=1_000
        )
    return folder


@pytest.fixture(scope="module")
def source(folder):
    return scd.open(str(folder / "*.h5ad"), obs=["plate", "cell_line"])


@pytest.fixture(scope="module")
def comparison(source):
    return compare(source, "cell_line", batch_size=16, block_size=4, fetch_factor=8)


def test_every_way_is_measured(comparison, source):
    assert comparison.n_held_out == 300
    assert comparison.n_train == 2_700
    assert comparison.n_classes == len(source.categories["cell_line"])
    names = [outcome.name for outcome in comparison.outcomes]
    assert names == ["file order", "block sampling", "true random"]
    for outcome in comparison.outcomes:
        assert outcome.loading > 0
        assert outcome.training > 0
        seen = [cells for cells, _ in outcome.curve]
        assert seen == sorted(seen)
        assert seen[-1] == 2_700
        assert len(seen) == demo.WATCHED_TIMES


def test_file_order_hurts_and_block_sampling_does_not(comparison):
    in_order, in_blocks, at_random = comparison.outcomes
    assert at_random.accuracy > 0.8
    assert in_blocks.accuracy > at_random.accuracy - 0.1
    assert in_order.accuracy < at_random.accuracy / 2


def test_entropy_is_that_of_the_way(comparison):
    in_order, in_blocks, at_random = comparison.outcomes
    assert in_order.entropy < in_blocks.entropy - 1
    assert in_blocks.entropy < at_random.entropy
    assert at_random.entropy == pytest.approx(comparison.random_entropy, abs=0.05)


def test_same_seed_gives_the_same_model(source):
    one, two = (compare(source, "plate", batch_size=32, seed=3) for _ in range(2))
    for a, b in zip(one.outcomes, two.outcomes, strict=True):
        assert (a.accuracy, a.curve, a.entropy) == (b.accuracy, b.curve, b.entropy)


def test_progress_is_told_for_every_stage(source):
    stages: dict[str, list[int]] = {}
    compare(
        source,
        "plate",
        report=lambda stage, done, total: stages.setdefault(stage, []).append(done),
    )
    ways = ("file order", "block sampling", "true random")
    assert list(stages) == [
        f"{what}, {way}" for way in ways for what in ("train", "load")
    ]
    assert all(done[-1] == 2_700 for done in stages.values())


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


def test_label_of_numbers_is_refused(few):
    with pytest.raises(ValueError, match='"size" must be a column of categories'):
        compare(scd.open(few, obs=["size"]), "size")


def test_too_few_labels_are_refused(few, tmp_path):
    cells = anndata.read_h5ad(few)[:8].copy()
    cells.write_h5ad(tmp_path / "fewer.h5ad")
    with pytest.raises(ValueError, match="at least 10 cells must have a label"):
        compare(scd.open(tmp_path / "fewer.h5ad", obs=["kind"]), "kind")


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
        for words in ("file order", "true random", "720 cells", "scdataset-demo.png"):
            assert words in done.output
        assert (tmp_path / "scdataset-demo.png").read_bytes()[:4] == b"\x89PNG"
        assert len(list((tmp_path / "kept").rglob("*.h5ad"))) == 2

    def test_demo_takes_files_of_ones_own(self, run, few, tmp_path):
        done = run(
            *("demo", "--data", few, "--label", "kind", "--batch-size", 4),
            *("--figure", tmp_path / "figures" / "own.png"),
        )
        assert done.exit_code == 0, done.output
        assert "classifier of kind" in done.output
        assert (tmp_path / "figures" / "own.png").exists()

    def test_demo_takes_files_that_the_shell_listed(self, run, folder):
        done = run("demo", "--label", "plate", "--data", *sorted(folder.iterdir()))
        assert done.exit_code == 0, done.output
        assert "2,700 cells" in done.output

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
        monkeypatch.setattr(commands, "on_a_terminal", lambda: True)
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
