"""The formulas, one file each: arrays in, numbers out; no file, no network, no preset."""
