"""The testbed's sounds: events, scenes with their captions, and what their audio holds."""
