"""What a network must have whose samples `convnn generate` draws."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from convnn.errors import InputError, check_at_least
from convnn.models import OwnLoss


@runtime_checkable
class Generative(Protocol):
    """A network that draws new samples; a picture of them is made by `convnn.tasks.generate.draw`."""

    def sample(self, count: int, shape: tuple[int, ...], temperature: float = 1.0) -> Any:
        """Return new samples, in the form of the inputs that the network learned, from torch's generators.

        Args:
            count: number of samples.
            shape: shape of a sample, as in `LabelledData.input_shape`.
            temperature: how far samples lie from the most probable; 1 is the distribution that was learned.
        """


@torch.no_grad()
def sample(
    network: nn.Module,
    count: int,
    shape: tuple[int, ...],
    *,
    temperature: float = 1.0,
    seed: int | None = None,
) -> Any:
    """Draw new samples from a network, which is left in its mode; torch's generators are left as they are.

    Args:
        network: a `Generative` network.
        count: number of samples, at least 1.
        shape: shape of a sample, as in the recipe of the checkpoint.
        temperature: how far samples lie from the most probable, at least 0.
        seed: seed of the drawing; None continues torch's generators, and moves them on.

    Raises:
        InputError: the network draws nothing, or a number is out of range.
    """
    check_at_least("count", count, 1)
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature={temperature} must be a number of at least 0")
    if not (isinstance(network, OwnLoss) and isinstance(network, Generative)):
        raise InputError(f"network={type(network).__name__} has no method `sample`, so it draws nothing")
    if seed is None:
        return network.sample(count, shape, temperature)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return network.sample(count, shape, temperature)
