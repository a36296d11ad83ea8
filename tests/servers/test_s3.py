"""moto's server keeps what is uploaded, and obstore reads it."""

import pytest

obstore = pytest.importorskip("obstore")


def test_uploaded_objects_are_listed_and_read(s3, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_bytes(b"abc")
    urls = s3.upload("some-bucket", tmp_path, prefix="in/")
    assert urls == ["s3://some-bucket/in/x/a"]
    store = obstore.store.from_url("s3://some-bucket/in", **s3.options)
    found = [item["path"] for page in obstore.list(store) for item in page]
    assert found == ["x/a"]
    assert obstore.get_range(store, "x/a", start=1, end=3).to_bytes() == b"bc"
