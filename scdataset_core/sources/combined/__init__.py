"""Sources made of sources: side by side, one after another, or some of their rows."""
