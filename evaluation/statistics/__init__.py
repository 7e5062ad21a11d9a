"""Arrays that come in, intervals and tests by clip, and Student's t."""
