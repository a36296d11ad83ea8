"""Files of AnnData's schema: `.h5ad`, `.h5mu` and zarr stores."""
