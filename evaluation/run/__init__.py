"""What a run needs around the metrics: options, networks by name, failures, provenance, the scorer."""
