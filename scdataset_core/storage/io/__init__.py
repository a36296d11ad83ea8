"""Bytes: open files, positional reads, io_uring, and their memory and threads."""
