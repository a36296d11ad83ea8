"""Values that Arrow decodes, checked and turned into NumPy's."""
