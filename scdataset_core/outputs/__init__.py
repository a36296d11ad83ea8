"""Outputs: one module for each form that batches come in."""
