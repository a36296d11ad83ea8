"""Small Hugging Face data sets."""

import numpy as np
import pytest

from tests.sources.small_cells import LINES, N_GENES

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

FIRST = 3  # ids below are tokens that are no genes
VOCABULARY = {FIRST + i: f"gene{i}" for i in range(N_GENES)}


def columns_of(part):
    """Return a part's obs, as columns of a data set."""
    return {
        "line": part.obs["line"].cat.codes.to_numpy(np.int64),
        "number": part.obs["number"].to_numpy(),
        "score": part.obs["score"].to_numpy(),
        "passed": part.obs["passed"].to_numpy(),
        "obs_names": part.obs_names.tolist(),
    }


FEATURES = {
    "line": datasets.ClassLabel(names=LINES),
    "number": datasets.Value("int64"),
    "score": datasets.Value("float32"),
    "passed": datasets.Value("bool"),
    "obs_names": datasets.Value("string"),
}


def lists(part, marker):
    """Return gene ids and values of each row, with a marker in front or not."""
    X = part.X.tocsr()
    rows = [slice(*X.indptr[i : i + 2]) for i in range(part.n_obs)]
    genes = [(X.indices[row] + FIRST).tolist() for row in rows]
    values = [X.data[row].tolist() for row in rows]
    if marker:
        genes, values = [[1, *g] for g in genes], [[-2.0, *v] for v in values]
    return genes, values


def make_dataset(part, marker=True):
    """Return a part in the layout of Tahoe-100M, in memory."""
    genes, values = lists(part, marker)
    return datasets.Dataset.from_dict(
        {"genes": genes, "expressions": values, **columns_of(part)},
        datasets.Features(
            {
                "genes": datasets.Sequence(datasets.Value("int64")),
                "expressions": datasets.Sequence(datasets.Value("float32")),
                **FEATURES,
            }
        ),
    )


NAMES = {3: "a", 4: "b", 5: "c"}


def make_small(**columns):
    """Return four cells; `columns` replace or add to theirs."""
    held = {
        "genes": [[1, 3, 4], [], [1, 5], [4, 3]],
        "expressions": [[-2.0, 1.0, 2.0], [], [-2.0, 3.0], [4.0, 5.0]],
    }
    return datasets.Dataset.from_dict({**held, **columns})
