"""Turns stored bytes into plain ones: filters, decompressors and checksums."""
