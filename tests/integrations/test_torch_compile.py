"""torch.compile over padded batches: one graph for a whole run."""

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")

import torch
from scdataset_torch import LoaderDataset, to_tensors
from torch.utils.data import DataLoader

from scdataset_core import BlockShuffling, Loader, open

# PyTorch's own, of what it imports and of its own modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Embed(torch.nn.Module):
    """A cell as the sum of its genes' vectors, each times its count."""

    def __init__(self, n_genes):
        super().__init__()
        self.bag = torch.nn.EmbeddingBag(n_genes, 8, mode="sum")

    def forward(self, x):
        indices, values = x["indices"], torch.log1p(x["values"])
        return self.bag(indices, per_sample_weights=values)


@pytest.mark.slow  # the page docs/torch.md does the same in the default run
def test_padded_batches_are_one_graph(plates):
    source = open(plates / "*.h5ad", obs=["drug"], genes=[f"gene{i}" for i in range(9)])
    loader = Loader(source, BlockShuffling(8), batch_size=64, output="padded")
    batches = DataLoader(LoaderDataset(loader, to_tensors()), batch_size=None)
    model = Embed(len(source.var_names))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(model, backend=count, fullgraph=True)
    torch._dynamo.config.error_on_recompile = True
    try:
        n_cells = 0
        for _ in range(2):
            for batch in batches:
                assert torch.equal(compiled(batch["X"]), model(batch["X"]))
                n_cells += int((batch["index"] >= 0).sum())
    finally:
        torch._dynamo.config.error_on_recompile = False
    assert n_cells == 2 * len(source)
    assert len(source) % 64 != 0  # so the last batch is short
    assert len(graphs) == 1
    assert np.prod(batch["X"]["indices"].shape) == 64 * 128
