"""Files with one column of obs each."""

import anndata as ad
import numpy as np
import pandas as pd


def write(folder, columns):
    """Write one file for each column called `a`, and return their paths."""
    paths = []
    for i, column in enumerate(columns):
        obs = pd.DataFrame({"a": column})
        obs.index = obs.index.astype(str)
        adata = ad.AnnData(np.ones((len(obs), 2), np.float32), obs=obs)
        paths.append(folder / f"{i}.h5ad")
        # AnnData turns text into categoricals, unless told to leave it as it is.
        adata.write_h5ad(paths[-1], convert_strings_to_categoricals=False)
    return paths
