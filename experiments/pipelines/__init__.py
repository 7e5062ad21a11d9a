"""What generates: pipelines, where they come from and which weights they hold."""
