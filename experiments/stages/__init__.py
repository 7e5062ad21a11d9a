"""What a run does: set up, generate, time, probe and score; each stage reads what the one before left on disk."""
