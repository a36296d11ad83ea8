"""What a Loader must do over every source, whatever its format."""

import json
import pickle
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import (
    dense_of,
    make_loader,
)


class LoaderContract:
    """The behaviours of a Loader over a source; `SourceContract` has them too."""

    check: Any  # of `SourceContract`
    open: Any

    def test_batches_do_not_depend_on_threads(self, source, whole):
        alone, many = (
            list(make_loader(source, threads=threads, read_ahead=ahead))
            for threads, ahead in ((1, 1), (3, 2))
        )
        assert len(alone) == len(many) == 13
        for one, other in zip(alone, many, strict=True):
            np.testing.assert_array_equal(one["index"], other["index"])
            np.testing.assert_array_equal(dense_of(one["X"]), dense_of(other["X"]))
            self.check(source, whole, other)

    def test_resumes_with_the_next_batch_inside_a_fetch(self, source, whole):
        wanted = [batch["index"].tolist() for batch in make_loader(source)]
        loader = make_loader(source)
        batches = iter(loader)
        seen = [next(batches)["index"].tolist() for _ in range(4)]  # a fetch has 3
        state = json.loads(json.dumps(loader.state_dict()))
        again = make_loader(pickle.loads(pickle.dumps(source)))
        again.load_state_dict(state)
        for batch in again:
            self.check(source, whole, batch)
            seen.append(batch["index"].tolist())
        assert seen == wanted

    def test_resumes_on_another_number_of_ranks(self, source):
        wanted = [batch["index"].tolist() for batch in make_loader(source)]
        states, seen = [], []
        for rank in range(2):
            loader = make_loader(source, rank=rank, world_size=2)
            batches = iter(loader)
            seen += [next(batches)["index"].tolist() for _ in range(2)]
            states.append(loader.state_dict())
        for rank in range(3):
            loader = make_loader(source, rank=rank, world_size=3)
            loader.load_state_dict(scd.merge_states(states))
            seen += [batch["index"].tolist() for batch in loader]
        assert sorted(seen) == sorted(wanted)

    def test_a_state_of_other_data_is_refused(self, source, data):
        state = make_loader(source).state_dict()
        other = make_loader(self.open(data, genes=["gene3", "gene1"]))
        with pytest.raises(scd.StateError, match="another data set"):
            other.load_state_dict(state)

    @pytest.mark.parametrize("output", ["csr", "dense", "padded", "anndata"])
    def test_every_output_of_a_loader_keeps_cells_together(self, source, whole, output):
        loader = scd.Loader(
            source,
            scd.BlockShuffling(block_size=4),
            batch_size=16,
            fetch_factor=2,
            output=output,
        )
        seen = []
        for batch in loader:
            if output == "anndata":
                rows = batch.obs_names.astype(int).to_numpy()
                x, numbers = batch.X, batch.obs["number"].to_numpy()
                lines = batch.obs["line"].tolist()
            else:
                rows = batch["index"][batch["index"] >= 0]
                x, numbers = batch["X"], batch["obs"]["number"][: len(rows)]
                codes = batch["obs"]["line"][: len(rows)]
                lines = [source.categories["line"][code] for code in codes]
            got = dense_of(x)[: len(rows)]
            np.testing.assert_array_equal(got, whole.X.toarray()[rows])
            np.testing.assert_array_equal(numbers, rows)
            assert lines == whole.obs["line"].iloc[rows].tolist()
            seen.extend(rows.tolist())
        assert sorted(seen) == list(range(len(source)))
