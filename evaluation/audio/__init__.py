"""Audio in and out: files, their headers, rates, and the windows of a long clip."""
