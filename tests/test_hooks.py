"""What hooks may add to a batch, and what they may check."""

import numpy as np
import pytest

import scdataset_core as scd


@pytest.fixture
def source():
    x = np.arange(1, 22, dtype=np.float32).reshape(7, 3)
    return scd.open(x)


def add_parts(batch):
    x = batch["X"]
    return {**batch, "twice": x["values"] * 2, "copies": {"x": x["values"]}}


@pytest.mark.parametrize("name", ["fetch_transform", "batch_transform"])
def test_what_a_hook_adds_is_filled_with_the_batch(source, name):
    loader = scd.Loader(
        source, scd.Streaming(), batch_size=4, output="padded", **{name: add_parts}
    )
    last = list(loader)[-1]
    assert last["index"].tolist() == [4, 5, 6, -1]
    np.testing.assert_array_equal(last["twice"], 2 * last["X"]["values"])
    np.testing.assert_array_equal(last["copies"]["x"], last["X"]["values"])


def test_what_has_no_rows_stays_as_it_is(source):
    more = {"name": "A", "codes": np.arange(2)}
    loader = scd.Loader(
        source,
        scd.Streaming(),
        batch_size=4,
        output="padded",
        batch_transform=lambda batch: {**batch, **more},
    )
    last = list(loader)[-1]
    assert last["name"] == "A"
    assert last["codes"] is more["codes"]


def test_a_dict_that_is_no_batch_of_cells_stays_as_it_is(source):
    loader = scd.Loader(
        source,
        scd.Streaming(),
        batch_size=4,
        output="padded",
        fetch_transform=lambda cells: {"a": cells["index"]},
    )
    assert [batch["a"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6]]


class Picky:
    """A hook that goes with no source."""

    def check_source(self, source):
        raise ValueError(f"not with {source.shape[1]} genes")

    def __call__(self, batch):
        return batch


def test_a_hook_may_refuse_a_source(source):
    for name in ("fetch_transform", "batch_transform"):
        with pytest.raises(ValueError, match="not with 3 genes"):
            scd.Loader(source, **{name: Picky()})
    # The genes are not known behind other hooks, and raw objects have none.
    for name in ("fetch_transform", "fetch_callback", "batch_callback"):
        scd.Loader(source, batch_transform=Picky(), **{name: lambda *given: given[0]})
    scd.Loader(np.ones((4, 2)), batch_transform=Picky())


def test_a_transform_that_was_not_called_is_refused(source):
    for transform in (scd.transforms.log1p, scd.transforms.to_dense):
        match = rf"function {transform.__name__} itself.*{transform.__name__}\(\.\.\.\)"
        with pytest.raises(TypeError, match=match):
            scd.Loader(source, batch_transform=transform)


class Backed(np.ndarray):
    """Rows that are given once, as AnnData in a file gives them."""

    isbacked = False

    def __getitem__(self, rows):
        if self.isbacked:
            raise ValueError("you cannot make a view of a view")
        taken = super().__getitem__(rows)
        taken.isbacked = True
        return taken


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (
            np.eye(8),
            {"fetch_transform": lambda fetched: None},
            TypeError,
            "fetch_transform gave None.*what it changes in place, too",
        ),
        (
            np.eye(8),
            {"fetch_callback": lambda data, rows: None},
            TypeError,
            "fetch_callback gave None",
        ),
        (
            np.eye(8),
            {"fetch_callback": lambda data, rows: (data[rows], rows)},
            TypeError,
            r"scalar index.*of a tuple.*batch_callback\(fetched, positions\)",
        ),
        (
            np.eye(8).view(Backed),
            {},
            ValueError,
            r"view of a view.*in a file.*scdataset_core\.open\(adata\)",
        ),
    ],
)
def test_a_fetch_of_which_no_minibatch_can_be_taken(data, options, error, message):
    loader = scd.Loader(data, scd.Streaming(), batch_size=4, **options)
    with pytest.raises(error, match=message):
        next(iter(loader))


class DamagedError(ValueError):
    """An error of the data's own."""


class Damaged(list[int]):
    def __getitem__(self, rows):
        raise DamagedError("record 7 is damaged")


def test_an_error_of_the_datas_own_keeps_its_type():
    loader = scd.Loader(
        np.arange(8),
        scd.Streaming(),
        batch_size=4,
        fetch_transform=Damaged,
    )
    with pytest.raises(DamagedError, match=r"^record 7 is damaged$"):
        next(iter(loader))
