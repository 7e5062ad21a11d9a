"""Prompts of a run, and the references that its clips are compared with."""
