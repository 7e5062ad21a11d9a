"""Networks that turn audio into embeddings and posteriors. Nothing is loaded before the first clip is embedded."""
