"""Random numbers that depend only on named keys and leave torch's global generators unchanged."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


def derive_seed(*key: str | int) -> int:
    """Hash a key such as `("order", seed, epoch)` to a 64-bit seed."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def make_generator(*key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator on `device`, seeded by the key."""
    return torch.Generator(device).manual_seed(derive_seed(*key))


@contextmanager
def seeded_globally(*key: str | int) -> Iterator[None]:
    """Seed torch's global CPU generator within the block, for code that takes no generator, and restore it after."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators.
        torch.default_generator.manual_seed(derive_seed(*key))
        yield


@dataclass(frozen=True)
class Draws:
    """Random numbers for every sample of a batch, of which each process takes its part.

    The numbers of a sample do not depend on how many processes share the batch.

    Attributes:
        generator: generator for the whole batch; results are on its device.
        num_samples: samples of the whole batch.
        part: (samples,) positions in the batch of this process's samples.
    """

    generator: torch.Generator
    num_samples: int
    part: Tensor

    def uniform(self, *shape: int) -> Tensor:
        """Draw (samples, *shape) uniformly between 0 and 1."""
        return torch.rand(self.num_samples, *shape, generator=self.generator, device=self.generator.device)[self.part]

    def normal(self, *shape: int) -> Tensor:
        """Draw (samples, *shape) from the normal distribution of mean 0 and standard deviation 1."""
        return torch.randn(self.num_samples, *shape, generator=self.generator, device=self.generator.device)[self.part]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw integers (samples, *shape) from low to high - 1."""
        size = (self.num_samples, *shape)
        return torch.randint(low, high, size, generator=self.generator, device=self.generator.device)[self.part]
