"""Exact speed-ups of everything around the attention sites."""
