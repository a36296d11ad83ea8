"""Cells in tables: Hugging Face data sets, Parquet and Arrow files."""
