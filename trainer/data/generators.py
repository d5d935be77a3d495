"""Random generators that depend on nothing but a seed and what they are for."""

import hashlib

import torch


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A generator on the CPU, the same for the same arguments whatever else was drawn before.

    Seeds are hashed, so that neighbouring seeds and indices give unrelated streams.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
