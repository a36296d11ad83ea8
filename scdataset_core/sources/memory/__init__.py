"""Cells in memory: arrays, and objects that are indexed by row."""
