"""URLs give the same batches as the files themselves, over real servers."""

import pickle

import pytest

import scdataset_core as scd
from tests.servers.remote_cells import HTTP_OPTIONS, assert_same, assert_same_batches

pytest.importorskip("obstore")

QUICK = [("gzip", "X"), ("plain", "X"), ("gzip", "layers/dense")]
on_both = pytest.mark.parametrize("remote", ["http", "s3"], indirect=True)


EVERY_MATRIX = [
    pytest.param(kind, x, marks=[] if (kind, x) in QUICK else pytest.mark.slow)
    for kind in ("plain", "gzip", "lzf")
    for x in ("X", "raw/X", "layers/counts", "layers/dense", "obsm/X_pca")
]


@on_both
@pytest.mark.parametrize(("kind", "x"), EVERY_MATRIX)
def test_matrices_of_h5ad(files, remote, kind, x):
    root, options = remote
    far = scd.open(files.urls(kind, root), x=x, obs=True, storage_options=options)
    near = scd.open(files.paths(kind), x=x, obs=True)
    assert far.shape == near.shape
    assert far.categories == near.categories
    assert assert_same_batches(far, near) == 30


@on_both
def test_h5mu(files, remote):
    root, options = remote
    far = scd.open(files.urls("h5mu", root)[0], storage_options=options)
    near = scd.open(files.paths("h5mu")[0])
    assert list(far.parts) == list(near.parts) == ["rna", "adt"]
    assert_same_batches(far, near)


@on_both
def test_several_matrices_genes_outputs_and_names(files, remote):
    root, options = remote
    settings = {"x": ["X", "obsm/X_pca"], "obs_names": True, "obs": ["line"]}
    far = scd.open(files.urls("gzip", root), storage_options=options, **settings)
    near = scd.open(files.paths("gzip"), **settings)
    assert_same_batches(far, near)
    settings = {"genes": ["gene7", "gene3"]}
    far = scd.open(files.urls("gzip", root), storage_options=options, **settings)
    near = scd.open(files.paths("gzip"), **settings)
    for output in ("csr", "dense", "padded"):
        assert_same_batches(far, near, output=output)
    rows = near.where(line="A549")
    assert far.where(line="A549") == rows
    assert_same(far.read(rows[:20])["X"], near.read(rows[:20])["X"])


@on_both
def test_one_file_epochs_and_states(files, remote):
    root, options = remote
    far = scd.open(files.urls("gzip", root)[0], storage_options=options)
    near = scd.open(files.paths("gzip")[0])
    assert_same_batches(far, near, epochs=2)
    loader = scd.Loader(far, scd.BlockShuffling(4), batch_size=8, fetch_factor=3)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    state = loader.state_dict()
    rest = list(iterator)
    reopened = pickle.loads(pickle.dumps(loader))
    reopened.load_state_dict(state)
    for got, expected in zip(reopened, rest, strict=True):
        assert_same(got, expected)


def test_globs_are_sorted_and_match_what_lies_in_folders(files, uploaded):
    options = uploaded.options
    expected = [f"s3://some-bucket/{name}" for name in files.names["gzip"]]
    for glob in ("gzip/*.h5ad", "gzip/plate[01].h5ad", "gzi?/pl*.h5ad", "g*/*"):
        source = scd.open(f"s3://some-bucket/{glob}", storage_options=options)
        assert list(source.files) == expected
    source = scd.open("s3://some-bucket/**/plate0.h5ad", storage_options=options)
    assert len(source.files) == 3
    with pytest.raises(FileNotFoundError, match=r"s3://some-bucket/none\*\.h5ad"):
        scd.open("s3://some-bucket/none*.h5ad", storage_options=options)


def test_http_lists_nothing(server):
    with pytest.raises(ValueError, match="name the files"):
        scd.open(f"{server.url}/gzip/*.h5ad", storage_options=HTTP_OPTIONS)


def test_an_http_address_needs_no_options(files, server):
    far = scd.open(files.urls("gzip", server.url))
    assert_same_batches(far, scd.open(files.paths("gzip")))


def test_keys_with_spaces_and_signs(files, s3, server):
    local = files.paths("gzip")[0]
    names = ["a b/c+d.h5ad", "ü/100%.h5ad", "x#y.h5ad", "q=1&r.h5ad"]
    urls = s3.upload("odd-keys", dict.fromkeys(names, local))
    near = scd.open(local)
    for url in urls:
        source = scd.open(url, storage_options=s3.options)
        assert list(source.files) == [url]
        assert_same(source.read([3, 5])["X"], near.read([3, 5])["X"])
    server.put("a b/c.h5ad", files.folder / files.names["gzip"][0])
    for url in (f"{server.url}/a%20b/c.h5ad", f"{server.url}/a b/c.h5ad"):
        assert_same(scd.open(url).read([3, 5])["X"], near.read([3, 5])["X"])


def test_chosen_genes_of_dense_rows_are_asked_for_together(files, server):
    given = {"x": "layers/dense", "genes": ["gene7", "gene30"]}
    far = scd.open(files.urls("plain", server.url), **given)
    near = scd.open(files.paths("plain"), **given)
    rows = range(0, 240, 2)
    assert_same(far.read(rows)["X"], near.read(rows)["X"])  # keeps what is small
    server.forget()
    far.read(rows)
    assert len(server.requests) == 2  # one a file: the rows lie near each other
    assert_same_batches(far, near)
