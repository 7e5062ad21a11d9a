"""How often a nominal 95% interval holds the truth, measured: `python -m experiments.coverage`."""
