"""The genes of several files as one list: joins, selections, genes known by number."""
