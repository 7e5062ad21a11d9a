"""Which files belong together, by name and caption, and files that are written whole."""
