"""Speed at real model sizes: `python -m experiments.benchmark`."""
