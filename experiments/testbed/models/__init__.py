"""The testbed's networks, AudioLDM2 in small, and the representations that they share."""
