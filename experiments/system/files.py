"""Files that appear whole or not at all, and the hash of one: `evaluation.files.whole`, under the harness's name."""

from evaluation.files.whole import sha256_file, whole_file, write_whole

__all__ = ["sha256_file", "whole_file", "write_whole"]
