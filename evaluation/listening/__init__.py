"""Votes of listeners: what the listening page saves, win rates between methods, and which metrics agree with people."""
