"""Levers that multiply with a sparse attention: each a context manager on a pipeline, `lever(pipe, **options)`."""
