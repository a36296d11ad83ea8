"""Finds where HDF5 files, zarr stores and plain files keep the chunks of an array."""
