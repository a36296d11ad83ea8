"""Cells in files whose arrays are read by ranges: what h5ad, zarr and SCDL share."""
