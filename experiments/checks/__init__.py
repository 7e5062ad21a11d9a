"""What can go wrong in a run, looked for before anything is expensive: one file per concern."""
