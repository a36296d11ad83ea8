"""Reads bytes: byte sources, positional reads, io_uring, and memory and threads."""
