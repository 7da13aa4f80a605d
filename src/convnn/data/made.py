"""Samples that are made one by one, when they are needed."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch


class MadeLoader(EpochLoader):
    """Batches of samples of which each is made when it is needed, and kept; all labels are 0.

    Args:
        make: function of a number that returns a sample; all have one shape.
        numbers: of the samples.
        settings: settings of the batches.
    """

    def __init__(self, make: Callable[[int], Tensor], numbers: Sequence[int], settings: LoaderSettings) -> None:
        super().__init__(len(numbers), settings)
        self._make, self._numbers = cache(make), numbers

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            samples = [self._make(self._numbers[index]) for index in step.indices.tolist()]
            kept = torch.stack(samples) if samples else self._make(self._numbers[0]).unsqueeze(0)[:0]
            indices = step.indices.to(self._settings.device)
            yield Batch(self._inputs(kept.to(self._settings.device)), torch.zeros_like(indices), indices)

    def _inputs(self, samples: Tensor) -> Tensor:
        """Return the inputs of the network for samples as they are kept."""
        return samples
