"""What a scoring run says, and how it is shown."""
