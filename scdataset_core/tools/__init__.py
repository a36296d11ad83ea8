"""Tools built on the loader: synthetic plates, the demo, and its classifier."""
