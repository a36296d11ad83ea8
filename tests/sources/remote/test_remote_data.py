"""What URLs, stores and file objects stand for in `open`, and which are refused."""

import io

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import ObjectMissingError, StoreAccessError, StoreError
from tests.storage.cache.plates import digest

obstore = pytest.importorskip("obstore")

ROWS = np.arange(0, 400, 7)


def same(found, path):
    expected = scd.open(path).read(ROWS)["X"]
    return (found.read(ROWS)["X"] != expected).nnz == 0


def test_a_glob_of_a_bucket_gives_its_matches_sorted(s3, plates):
    s3.upload("globs", {f"x/plate{i}.h5ad": plates / f"plate{i}.h5ad" for i in (2, 1)})
    s3.upload("globs", {"x/deep/plate3.h5ad": plates / "plate3.h5ad", "x/a.txt": b"x"})
    given = {"storage_options": s3.options}
    source = scd.open("s3://globs/x/*.h5ad", obs="plate", **given)
    assert source.files == (
        "s3://globs/x/plate1.h5ad",
        "s3://globs/x/plate2.h5ad",
    )
    assert source.categories["plate"] == ["plate1", "plate2"]
    assert len(scd.open("s3://globs/**/plate[13].h5ad", **given).files) == 2
    assert same(scd.open("s3://globs/x/plate1.h5ad", **given), plates / "plate1.h5ad")
    with pytest.raises(ObjectMissingError, match=r"no object matches s3://globs/y\*"):
        scd.open("s3://globs/y*", **given)


def test_what_is_not_there_is_named_with_the_nearest(s3, plates):
    s3.upload("near", {"plates/plate1.h5ad": plates / "plate1.h5ad"})
    with pytest.raises(FileNotFoundError, match=r'did you mean "plate1\.h5ad"'):
        scd.open("s3://near/plates/plate11.h5ad", storage_options=s3.options)
    with pytest.raises(StoreError, match="s3://nosuchbucket/a"):
        scd.open("s3://nosuchbucket/a.h5ad", storage_options=s3.options)


def test_changed_objects_of_a_bucket_are_found_out(s3, plates):
    s3.upload("changes", {"a.h5ad": plates / "plate1.h5ad"})
    source = scd.open("s3://changes/a.h5ad", storage_options=s3.options)
    s3.upload("changes", {"a.h5ad": plates / "plate2.h5ad"})
    with pytest.raises(scd.FileChangedError, match=r"s3://changes/a\.h5ad changed"):
        source.read(ROWS)


def test_a_store_of_ones_own_is_read_by_paths_in_it(plates):
    store = obstore.store.LocalStore(plates)
    one = scd.open((store, "plate1.h5ad"))
    assert same(one, plates / "plate1.h5ad")
    assert len(scd.open((store, "*.h5ad")).files) == 3
    assert len(scd.open((store, ["plate3.h5ad", "plate1.h5ad"]))) == 800
    memory = obstore.store.MemoryStore()
    memory.put("a/b.h5ad", (plates / "plate2.h5ad").read_bytes())
    both = scd.open([(memory, "a/b.h5ad"), (store, "plate1.h5ad")])
    assert len(both) == 800
    assert same(scd.open((memory, "a/b.h5ad")), plates / "plate2.h5ad")


def test_file_objects_are_read(plates):
    content = (plates / "plate1.h5ad").read_bytes()
    assert same(scd.open(io.BytesIO(content)), plates / "plate1.h5ad")
    two = scd.open([io.BytesIO(content), io.BytesIO(content)])
    assert len(two) == 800
    assert digest(two)
    with pytest.raises(scd.FileFormatError, match="is read in place"):
        scd.open(io.BytesIO(bytes(100)))


def test_files_of_fsspec_are_read(plates):
    fsspec = pytest.importorskip("fsspec")
    path = plates / "plate1.h5ad"
    assert same(scd.open(fsspec.open(path)), path)
    with fsspec.filesystem("file").open(path) as file:
        assert same(scd.open(file), path)
    memory = fsspec.filesystem("memory")
    memory.pipe("/x/a.h5ad", path.read_bytes())
    source = scd.open(memory.open("/x/a.h5ad"))
    assert source.files == ("memory://x/a.h5ad",)
    assert same(source, path)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("ftp://host/a.h5ad", "the scheme ftp:// is not known.*s3://, gs://, az://"),
        ("file:///a.h5ad", "a local file is opened by its path"),
        ("s3://bucket", "expected s3://BUCKET/PATH"),
        ("s3://key:secret@bucket/a.h5ad", r"^s3://bucket/a.h5ad: .*storage_options"),
        ("http://host", "expected http://HOST/PATH"),
        ("https://host/*.h5ad", "HTTP has no listing.*name the files"),
        ("s3://bucket/a/../b.h5ad", 'has a part that is ".."'),
    ],
)
def test_urls_that_cannot_be_are_refused(data, match):
    with pytest.raises(ValueError, match=match):
        scd.open(data)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nokey": "hidden"}, "nokey"),
        ({"client_options": {"nokey": "hidden"}}, "nokey"),
        ({"skip_signature": "hidden"}, "a value is wrong"),
        ({"retry_config": {"max_retries": "hidden"}}, "a value is wrong"),
    ],
)
def test_options_that_obstore_does_not_take_are_refused_without_values(options, match):
    with pytest.raises(ValueError, match=f"obstore.store.S3Store.*{match}") as caught:
        scd.open("s3://bucket/a.h5ad", storage_options=options)
    assert "hidden" not in str(caught.value)
    assert caught.value.__context__ is None


def test_options_go_with_urls_alone(plates):
    path = plates / "plate1.h5ad"
    with pytest.raises(ValueError, match="storage_options go with URLs"):
        scd.open(path, storage_options={"region": "x"})
    with pytest.raises(TypeError, match="storage_options must be a dict"):
        scd.open("s3://bucket/a.h5ad", storage_options=["region"])
    store = obstore.store.LocalStore(plates)
    with pytest.raises(ValueError, match="store of your own has its options"):
        scd.open((store, "plate1.h5ad"), storage_options={"region": "x"})
    with pytest.raises(ValueError, match="allow_external goes with local files"):
        scd.open("s3://bucket/a.h5ad", allow_external=True)


def test_wrong_credentials_are_named(s3, plates, monkeypatch):
    class Refusing:
        def head(self, key):
            raise PermissionError(f"secret of {key}")

        def get(self, key, *, options=None):
            raise PermissionError(f"secret of {key}")

        def list(self, prefix=None, **options):
            return []

    with pytest.raises(StoreAccessError, match="refuses access") as caught:
        scd.open((Refusing(), "a.h5ad"))
    assert "secret" not in str(caught.value)


def test_obstore_that_is_missing_is_named_with_its_extra(monkeypatch):
    import sys

    from scdataset_core.storage.remote import obstore_library

    monkeypatch.setattr(obstore_library._Loaded, "pid", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[remote\]"):
        scd.open("s3://bucket/a.h5ad")


def test_a_file_of_text_is_an_error_and_bytes_of_any_class_are_read(plates):
    path = plates / "plate1.h5ad"
    with pytest.raises(StoreError, match=r"StringIO, bytes .*TypeError.*the store or"):
        scd.open(io.StringIO("x" * 1000))

    class Views(io.BytesIO):
        def read(self, n=-1):
            return memoryview(super().read(n))

    assert same(scd.open(Views(path.read_bytes())), path)


def test_what_a_forked_process_cannot_read_is_an_error(plates):
    from scdataset_core.storage.remote.object_store import OwnFile

    path = plates / "plate1.h5ad"
    store = obstore.store.LocalStore(plates)
    reader = obstore.open_reader(store, path.name)
    assert same(scd.open(reader), path)
    with pytest.raises(StoreError, match="name: a ReadableFile cannot be made anew"):
        OwnFile(reader, "name", pid=-1).connect()
    OwnFile(io.BytesIO(b"x"), "name", pid=-1).connect()
    pytest.importorskip("fsspec")
    from obstore.fsspec import FsspecStore

    file = FsspecStore("file").open(str(path))
    with pytest.raises(StoreError, match="open the store itself"):
        OwnFile(file, "name", pid=-1).connect()


def test_stores_of_ones_own_are_named_apart_and_in_advice(plates):
    content = (plates / "plate1.h5ad").read_bytes()
    stores = [obstore.store.MemoryStore() for _ in range(2)]
    for store in stores:
        store.put("a/b.h5ad", content)
    source = scd.open([(store, "a/*.h5ad") for store in stores])
    assert source.files == ("MemoryStore://a/b.h5ad", "MemoryStore://(2)/a/b.h5ad")
    assert source.concurrent  # the next fetch is asked for while one is used
    with pytest.raises(ObjectMissingError, match=r"open\(\(store, 'a/\*\.h5ad'\)\)"):
        scd.open((stores[0], "a"))


def test_a_store_that_lists_all_objects_alone_matches_globs(plates):
    class Few:
        def __init__(self, store):
            self.head, self.get, self.list = store.head, store.get, store.list

    store = Few(obstore.store.LocalStore(plates))
    assert len(scd.open((store, "plate[12].h5ad")).files) == 2
    with pytest.raises(ObjectMissingError, match=r'did you mean "plate1\.h5ad"'):
        scd.open((store, "plate11.h5ad"))
    with pytest.raises(ValueError, match=r"open\(\(store, \[\]\)\) got no paths"):
        scd.open((store, []))
    with pytest.raises(TypeError, match="a path in a store must be text, got 3"):
        scd.open((store, 3))
