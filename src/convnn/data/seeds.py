"""Randomness that depends on named keys alone and leaves torch's global generators as they were."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*key: str | int) -> int:
    """Hash a key such as `("order", seed, epoch)` to a 64-bit seed."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def make_generator(*key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator on `device`, seeded by the key."""
    return torch.Generator(device).manual_seed(derive_seed(*key))


@contextmanager
def seeded_globally(*key: str | int) -> Iterator[None]:
    """Seed torch's global CPU generator within the block, for code that takes no generator; restore it after."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the accelerators as well.
        torch.default_generator.manual_seed(derive_seed(*key))
        yield
