"""Generators for numbered draws, such as one noise per clip or one batch per training step."""

import torch

# Odd, near 2^32 over the golden ratio: its multiples lie far apart modulo 2^32, so seeds do not share draws.
STRIDE = 0x9E3779B1


def numbered_generator(seed: int, number: int) -> torch.Generator:
    """The generator of draw `number` under `seed`, independent of every other.

    torch's CPU generator reads the lowest 32 bits of a seed only: whatever tells draws apart has to lie there.
    """
    return torch.Generator().manual_seed((number + seed * STRIDE) % 2**32)
