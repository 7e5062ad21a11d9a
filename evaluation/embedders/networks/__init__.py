"""The published networks, one file each. Each loads on first use."""
