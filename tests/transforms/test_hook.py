"""What all transforms share: where X stands in a batch, and the epoch of randomness."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

import scdataset_core as scd
from scdataset_core import transforms as tf
from tests.transforms.matrices import make_batch

N_GENES = 300  # of the plates of conftest.py

RANDOM = [
    pytest.param(tf.mask_values(0.3, seed=5), id="mask_values"),
    pytest.param(tf.choose_genes(8, "random", seed=5), id="random"),
    pytest.param(
        tf.choose_genes(40, "expressed_then_zero", n_vars=N_GENES), id="then_zero"
    ),
    pytest.param(tf.bin_values(51, side="both"), id="bin_values"),
    pytest.param(
        tf.compose(tf.log1p(), lambda batch: tf.mask_values(0.5)(batch)), id="lambda"
    ),
]


def open_plates(plates, **options):
    return scd.open(str(plates / "*.h5ad"), **options)


def make_loader(source, seed=0, **options):
    options = {"batch_size": 50, "fetch_factor": 3, "seed": seed, **options}
    return scd.Loader(source, scd.BlockShuffling(8), **options)


def flatten(x):
    """Return all arrays of a nested X."""
    if isinstance(x, dict):
        return [array for name in sorted(x) for array in flatten(x[name])]
    return [x] if isinstance(x, np.ndarray) else [x.toarray()]


def by_row(batches):
    """Return what each global row became, as bytes."""
    found = {}
    for batch in batches:
        arrays = flatten(batch["X"])
        for place, row in enumerate(batch["index"].tolist()):
            found[row] = b"".join(array[place].tobytes() for array in arrays)
    found.pop(-1, None)  # what fills a short batch
    return found


@pytest.mark.parametrize("hook", RANDOM)
@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
def test_randomness_hangs_on_seed_epoch_and_row_only(plates, hook, output):
    source = open_plates(plates)
    options = {"output": output, "batch_transform": hook}
    whole = make_loader(source, **options)
    first, second = by_row(whole), by_row(whole)
    assert first.keys() == second.keys() == set(range(len(source)))
    assert first != second  # another epoch
    shards = [
        whole.shard(rank=rank, world_size=2, worker=worker, num_workers=2).fresh(1)
        for rank in range(2)
        for worker in range(2)
    ]
    assert by_row(batch for shard in shards for batch in shard) == second
    # In another order, in other minibatches, and on whole fetches.
    for name in ("batch_transform", "fetch_transform"):
        changed = scd.Loader(
            source,
            scd.Streaming(),
            batch_size=64,
            output=output,
            **{name: hook},
        )
        assert by_row(changed) == first


def test_resume_and_lookup_give_the_same_batches(plates):
    source = open_plates(plates)
    loader = make_loader(source, batch_transform=tf.mask_values(0.5))
    loader.set_epoch(2)
    batches = list(loader)
    again = make_loader(source, batch_transform=tf.mask_values(0.5))
    again.set_epoch(2)
    iterator = iter(again)
    for _ in range(4):
        next(iterator)
    resumed = make_loader(source, batch_transform=tf.mask_values(0.5))
    resumed.load_state_dict(again.state_dict())
    rest = list(resumed)
    assert len(rest) == len(batches) - 4
    for batch, expected in zip(rest, batches[4:], strict=True):
        assert (batch["X"] != expected["X"]).nnz == 0
        assert (batch["target"] != expected["target"]).nnz == 0
    assert (loader.batch(3, epoch=2)["X"] != batches[3]["X"]).nnz == 0
    fetched = make_loader(source, fetch_transform=tf.mask_values(0.5))
    assert (fetched.batch(3, epoch=2)["X"] != batches[3]["X"]).nnz == 0


@pytest.mark.parametrize("epoch", [-1, 0.5])
def test_epoch_must_be_a_count(epoch):
    with pytest.raises((ValueError, TypeError), match="epoch must be"):
        tf.log1p()(np.ones((1, 2)), epoch=epoch)


@pytest.mark.parametrize("x", [np.ones((6, 4), np.float32), csr_array(np.eye(6))])
@pytest.mark.parametrize("name", ["fetch_transform", "batch_transform"])
def test_a_source_in_memory_stays_as_it_is(x, name):
    kept = x.copy()
    hook = tf.compose(
        tf.normalize_total(), tf.log1p(), tf.clip(0, 1), tf.mask_values(1.0)
    )
    for source in (scd.open(x), x):
        options = (
            {name: hook} if source is not x else {name: tf.compose(*hook.hooks[:3])}
        )
        list(scd.Loader(source, scd.Streaming(), batch_size=6, **options))
    assert (x != kept).sum() == 0


def test_padded_batches_keep_one_shape(plates):
    source = open_plates(plates)
    for hook in (
        tf.mask_values(0.2),
        tf.choose_genes(20),
        tf.rank_tokens(np.arange(N_GENES), np.ones(N_GENES), 16),
        tf.bin_values(),
    ):
        for name in ("fetch_transform", "batch_transform"):
            loader = make_loader(source, output="padded", batch_size=64, **{name: hook})
            batches = list(loader)
            assert (batches[-1]["index"] == -1).any()
            shapes = {
                tuple(
                    array.shape
                    for key in ("X", "target")
                    if key in batch
                    for array in flatten(batch[key])
                )
                for batch in batches
            }
            assert len(shapes) == 1
            assert {len(batch["obs"]) for batch in batches} == {0}


def test_one_of_several_arrays(plates):
    source = open_plates(plates, x=["X", "layers/counts", "obsm/X_pca"])
    loader = make_loader(source, batch_transform=tf.log1p(x="layers/counts"))
    batch = next(iter(loader))
    np.testing.assert_array_equal(
        batch["X"]["layers/counts"].toarray(), np.log1p(batch["X"]["X"].toarray())
    )
    fetched = make_loader(source, fetch_transform=tf.to_dense(x="X"))
    assert isinstance(next(iter(fetched))["X"]["X"], np.ndarray)
    with pytest.raises(ValueError, match='log1p: X is several arrays, "X", "layers/c'):
        make_loader(source, batch_transform=tf.log1p())
    with pytest.raises(ValueError, match='log1p: x is "pca", and X has no array of'):
        make_loader(source, fetch_transform=tf.log1p(x="pca"))


def test_several_arrays_padded_tell_their_genes(plates):
    source = open_plates(plates, x=["X", "layers/counts"])
    hook = tf.compose(tf.to_dense(x="X"), tf.log1p(x="layers/counts"))
    loader = make_loader(source, output="padded", fetch_transform=hook)
    assert next(iter(loader))["X"]["X"].shape == (50, N_GENES)


@pytest.mark.parametrize(
    ("hook", "match"),
    [
        (tf.scale(None, [1.0, 2.0]), "scale: std has 2 genes, and X has 300"),
        (tf.rank_tokens([1], [1.0]), "rank_tokens: gene_tokens has 1 genes"),
        (tf.to_dense(n_vars=3), "to_dense: n_vars is 3, and X has 300 genes"),
        (tf.log1p(x="rna"), 'log1p: x is "rna", and X is one array here'),
        (tf.compose(tf.log1p(), tf.scale([1], [1])), "scale: std has 1 genes"),
    ],
)
def test_a_loader_refuses_other_genes_when_it_is_made(plates, hook, match):
    source = open_plates(plates)
    for name in ("fetch_transform", "batch_transform"):
        with pytest.raises(ValueError, match=match):
            make_loader(source, **{name: hook})


def test_genes_are_not_known_after_a_function_of_the_users(plates):
    source = open_plates(plates)

    def choose(batch):
        return {**batch, "X": batch["X"][:, :2]}

    last = tf.scale([0, 0], [1, 1])
    one = make_loader(source, batch_transform=tf.compose(choose, last))
    two = make_loader(source, fetch_transform=choose, batch_transform=last)
    for loader in (one, two):
        assert next(iter(loader))["X"].shape == (50, 2)


def test_controls_are_changed_too():
    control = make_batch(np.array([[1.0, 3.0]]), first=9)
    batch = {**make_batch(np.array([[2.0, 2.0]])), "control": control, "group": 7}
    out = tf.normalize_total(4)(batch)
    assert out["X"].tolist() == [[2, 2]]
    assert out["control"]["X"].tolist() == [[1, 3]]
    assert out["group"] == 7
    masked = tf.mask_values(0.5)(batch)
    assert masked["control"]["target"] is control["X"]


def test_anndata_batches(plates):
    source = open_plates(plates)
    loader = make_loader(source, output="anndata", fetch_transform=tf.log1p())
    plain = make_loader(source, output="csr")
    one, other = next(iter(loader)), next(iter(plain))
    np.testing.assert_array_equal(one.X.toarray(), np.log1p(other["X"].toarray()))
    late = make_loader(source, output="anndata", batch_transform=tf.log1p())
    with pytest.raises(TypeError, match="give the hook as fetch_transform"):
        next(iter(late))


def test_tokens_are_no_anndata(plates):
    hook = tf.rank_tokens(np.arange(N_GENES), np.ones(N_GENES), 8)
    loader = make_loader(open_plates(plates), output="anndata", fetch_transform=hook)
    with pytest.raises(TypeError, match='output="anndata" needs X as a matrix'):
        next(iter(loader))


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        ({"obs": {}}, "takes a batch, which has \"X\"; got a mapping of 'obs'"),
        ({"X": "text"}, "X must be CSR, dense or padded rows, got a str"),
        (np.ones(3), "got an array of 1 dimensions"),
        (csr_array(np.eye(2)).tocoo(), r"stored as COO: give x\.tocsr\(\)"),
        (np.ones((1, 2), complex), "X must hold real numbers, got complex128"),
    ],
)
def test_what_is_no_batch(batch, match):
    with pytest.raises(TypeError, match=match):
        tf.log1p()(batch)


def test_lengths_of_padded_rows_are_checked():
    x = {
        "indices": np.zeros((1, 2), np.int32),
        "values": np.ones((1, 2)),
        "length": np.array([3]),
    }
    with pytest.raises(ValueError, match="of width 2 must be from 0 to 2, got 3 to 3"):
        tf.bin_values()(x)


def test_x_must_be_a_name():
    with pytest.raises(TypeError, match="log1p: x must be the name of one of several"):
        tf.log1p(x=3)


def test_hooks_are_equal_if_they_do_the_same():
    assert tf.log1p() == tf.log1p() != tf.log1p(x="rna")
    assert tf.mask_values(0.1) != tf.mask_values(0.2)
    assert len({tf.clip(0, 1), tf.clip(0, 1), tf.clip(0, 2)}) == 2
    first, second = tf.scale([0, 1], [1, 1]), tf.scale([0, 2], [1, 1])
    assert first != second
    assert first in [second, first]
    assert tf.rank_tokens([1], [1]) != tf.rank_tokens([2], [1])


def test_hooks_pickle():
    for hook in (
        tf.normalize_total(),
        tf.log1p(x="rna"),
        tf.clip(0, 5),
        tf.to_dense(n_vars=4),
        tf.bin_values(5),
        tf.choose_genes(4),
        tf.mask_values(0.1),
    ):
        assert pickle.loads(pickle.dumps(hook)) == hook


@pytest.mark.parametrize("output", ["csr", "padded"])
def test_sets_with_controls(plates, output):
    source = open_plates(plates, obs=["drug", "cell_line"])
    sets = scd.GroupSampling(
        ["drug", "cell_line"], 5, control={"drug": "DMSO"}, match=["cell_line"]
    )
    hook = tf.compose(tf.normalize_total(100), tf.mask_values(0.5))
    width = [16, 32, 64] if output == "padded" else None
    found = []
    for name in ("batch_transform", "fetch_transform"):
        loader = scd.Loader(
            source, sets, batch_size=20, output=output, width=width, **{name: hook}
        )
        found.append(next(iter(loader)))
    for part in ("X", "target"):
        one, other = (flatten(batch[part]) for batch in found)
        for array, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, expected)
    for batch in found:
        for cells in (batch, batch["control"]):
            target = cells["target"]
            total = target["values"] if output == "padded" else target
            np.testing.assert_allclose(total.sum(axis=1), 100, rtol=1e-5)
