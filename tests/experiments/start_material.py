"""What the record of a start has to say, for tests that ask about something else."""

ENVIRONMENT = {
    "commit": "0123456789abcdef",
    "dirty": False,
    "device": "CPU",
    "threads": 1,
    "dtype": "float32",
    "packages": {"torch": "2.13.0"},
}
PIPELINE = {"name": "p", "trained": True}
