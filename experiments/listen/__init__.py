"""The listening page: one html file beside its audio, no server."""
