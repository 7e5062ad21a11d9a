"""Files that appear whole or not at all, and the hash of one: `evaluation.files`, under the harness's own name."""

from evaluation.files import sha256_file, whole_file, write_whole

__all__ = ["sha256_file", "whole_file", "write_whole"]
