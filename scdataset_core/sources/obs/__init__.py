"""The obs columns and names of cells: codes, numbers and text, over all files."""
