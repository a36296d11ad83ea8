"""A fingerprint recognises contents, however they are held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.sources.fingerprints import fingerprint

FACTS = st.dictionaries(
    st.text("ab", max_size=1),
    st.lists(st.integers() | st.text(max_size=2), max_size=2),
    max_size=2,
)


@given(FACTS, FACTS)
def test_two_facts_have_one_fingerprint_if_they_are_the_same(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


@pytest.mark.parametrize("dtype", ["i1", ">i4", "u8"])
def test_the_type_in_which_numbers_are_held_does_not_matter(dtype):
    assert fingerprint(np.array([1, 2], dtype)) == fingerprint([1, 2])


def test_names_count_as_text_whatever_objects_hold_them():
    names = np.array([np.str_("TP53"), "MYC"], object)
    assert fingerprint(names) == fingerprint(["TP53", "MYC"])
    assert fingerprint(np.array([1], object)) == fingerprint(["1"])


def test_a_fingerprint_stays_the_same_over_releases():
    # States that users have saved hold fingerprints: a change here refuses them all.
    facts = {"rows": [3, 4], "genes": np.array(["TP53", "é"], object)}
    assert fingerprint(facts) == "cdb05b1745788af7c0b33dadb566c54d"


def test_what_is_neither_numbers_nor_text_is_refused():
    with pytest.raises(TypeError, match="made of numbers and text, got <object"):
        fingerprint([object()])
