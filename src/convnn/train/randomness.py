"""Random numbers of a run: every step has its own seed, and the state of the generators can be saved and restored."""

import random
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convnn.data.seeds import derive_seed


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Seed Python, NumPy, torch and its devices for a step: dropout and sampled candidates depend on the step alone.

    All processes use the same seed, so that they sample the same candidates.
    """
    number = derive_seed("step", seed, epoch, step) % 2**32  # NumPy takes 32 bits
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)  # torch.manual_seed takes milliseconds before a device is first used
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


@contextmanager
def seeded(*key: str | int) -> Iterator[None]:
    """Seed torch's generators, on all devices, within the block, and restore them after."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(*key))
        yield


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of every generator: its tensors, and the rest as JSON values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = typing.cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    tensors = {
        "python": torch.tensor(words),
        "numpy": torch.from_numpy(keys.astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    tensors |= {f"cuda{i}": state for i, state in enumerate(_cuda_states())}
    return tensors, {"python": [version, gauss], "numpy": [kind, position, has_gauss, cached]}


def set_random_state(tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Restore the generators; devices that this machine lacks are ignored."""
    version, gauss = document["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    kind, *rest = document["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), *rest))
    torch.set_rng_state(tensors["torch"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{i}"], i)


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
