"""All groups and arrays of a file are walked over, however deep they lie."""

import h5py

from scdataset_core.sources.anndata_files.walking import walk_hdf5


def test_members_come_behind_their_group_and_sorted(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("b/y", "b/x/1", "a", "c/z"):
            file[name] = 1
        file["d"] = file["b/x"]  # a second way to it
    nodes = [node.path for node in walk_hdf5(str(tmp_path / "x.h5"))]
    assert nodes == ["", "a", "b", "b/x", "b/x/1", "b/y", "c", "c/z"]


def test_groups_in_groups_in_groups(tmp_path):
    deep = "/".join(["g"] * 1050)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file[f"{deep}/x"] = 1
    nodes = [node.path for node in walk_hdf5(str(tmp_path / "x.h5"))]
    assert len(nodes) == 1052
    assert nodes[-1] == f"{deep}/x"
