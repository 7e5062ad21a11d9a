"""Experiment tracking: a run folder, sent to Weights & Biases while it is made and when it is done."""
