"""Requests for ranges of arrays, carried out: planned, read, decoded and placed."""
