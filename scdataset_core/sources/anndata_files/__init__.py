"""Files of AnnData's layout: `.h5ad`, `.h5mu` and zarr stores."""
