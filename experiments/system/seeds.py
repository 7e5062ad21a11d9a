"""Generators of everything that is drawn: a clip's noise, and numbered draws such as one batch per training step."""

import hashlib

import torch

# Odd, near 2^32 over the golden ratio: its multiples lie far apart modulo 2^32, so seeds do not share draws.
STRIDE = 0x9E3779B1


def numbered_generator(seed: int, number: int) -> torch.Generator:
    """The generator of draw `number` under `seed`, independent of every other.

    torch's CPU generator reads the lowest 32 bits of a seed only: whatever tells draws apart has to lie there.
    """
    return torch.Generator().manual_seed((number + seed * STRIDE) % 2**32)


def noise_generator(prompt_id: str, seed: int, duration_s: float) -> torch.Generator:
    """The generator of a clip's initial noise.

    It depends on prompt, seed and duration alone: every method starts from the same noise, in any batch or shard.
    """
    digest = hashlib.sha256(f"{prompt_id}\0{seed}\0{duration_s:g}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)
