"""Folders that BioNeMo-SCDL writes."""
