"""What many objects are is held compactly, and read as it was given."""

from scdataset_core.storage.remote.identity import ObjectIdentity
from scdataset_core.storage.remote.many_objects import ObjectIdentities


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
