"""What many objects are is held compactly, and read as it was given."""

from collections.abc import Sequence

import pytest

from scdataset_core.errors import ScdatasetError
from scdataset_core.storage.remote.identity import ObjectIdentity
from scdataset_core.storage.remote.many_objects import ObjectIdentities, identify_all


def test_identities_are_given_back():
    known = [ObjectIdentity(5, '"a"', "t"), None, ObjectIdentity(0, '"b"')]
    found = ObjectIdentities.of(known)
    assert list(found[:]) == known
    assert found.n_bytes.tolist() == [5, -1, 0]


def test_digests_tell_versions_apart():
    def digest(*tags):
        return ObjectIdentities.of([ObjectIdentity(5, tag) for tag in tags]).digest()

    assert digest("a", "b") == digest("a", "b")
    assert digest("a", "b") != digest("a", "c")


def test_times_stand_in_for_tags():
    known = [ObjectIdentity(5, None, "monday"), ObjectIdentity(5)]
    assert list(ObjectIdentities.of(known)[:]) == known


class FewObjects:
    """A store of two objects, which it lists or does not."""

    def __init__(self, *, lists):
        self._lists = lists

    def lists(self, folder):
        return self._lists

    def list_objects(self, folder):
        return [(f"{folder}/{i}", ObjectIdentity(5)) for i in range(2)]


class Names(Sequence[str]):
    """More names than are ever made."""

    def __len__(self):
        return 1 << 40

    def __getitem__(self, number):
        raise AssertionError("the names are made")


@pytest.mark.parametrize(
    ("lists", "match"),
    [(True, "mem://a claims .* and 2 of them are there"), (False, "does not list")],
)
def test_more_names_than_objects_are_refused(lists, match):
    with pytest.raises(ScdatasetError, match=match):
        identify_all(FewObjects(lists=lists), "mem://a", Names())
