"""What the configuration names: the testbed as pipeline, prompts, references, judges and labels of the harness."""
