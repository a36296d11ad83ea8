"""From stored bytes to plain ones: pipelines of filters, decompressors, checksums."""
