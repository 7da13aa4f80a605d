"""Sequences (C, T): the pixels of an image one after another, and signals made on the spot."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch
from convnn.data.seeds import make_generator
from convnn.errors import InputError

ADDING_LENGTH, WAVEFORM_LENGTH = 100, 128
"""Samples of a signal where no length is given."""

MISSING = 0.3
"""Share of the samples that a waveform lacks where none is given."""

ADDING_COUNTS, WAVEFORM_COUNTS = {"train": 10_000, "test": 1_000}, {"train": 2_000, "test": 500}
"""Signals in each part."""

SHAPES_OF_WAVES = ("sine", "square", "triangle", "sawtooth")

WAVE_NOISE = 0.1
"""Standard deviation of the noise on a waveform of amplitude 1."""


class Signals(NamedTuple):
    """One part of a data set: (N, C, T) float32 values, and labels (N,), int64 classes or float32 numbers."""

    values: Tensor
    labels: Tensor


def raster_order(pixels: int, permuted: int | None, subsample: int, average: int) -> Tensor:
    """Return the pixels that a sequence reads from an image, positions (T, average), row by row.

    Args:
        pixels: number of pixels of the image.
        permuted: seed of a permutation, which is the same for every image; None keeps the order of the rows.
        subsample: keep every n-th sample of the result, the first one included.
        average: number of pixels of whose values a sample is the mean; those left over at the end are not read.

    Raises:
        InputError: a sample would be the mean of more pixels than there are.
    """
    if average > pixels:
        raise InputError(f"average={average} is more than the {pixels} samples of a sequence")
    if permuted is None:
        order = torch.arange(pixels)
    else:
        order = torch.randperm(pixels, generator=make_generator("permuted", permuted))
    return order[::subsample].unfold(0, average, average)


def make_adding(part: str, length: int) -> Signals:
    r"""Make sequences of the adding problem, whose label is the sum of the two marked numbers.

    .. math:: x_{1,t} \sim U(0, 1), \qquad x_{2,t} = [t \in \{i, j\}], \qquad y = x_{1,i} + x_{1,j}

    One mark is in the first half, the other in the second. Every part is the same whenever it is made.

    Returns:
        Values (N, 2, T), numbers and marks, and labels (N,) float32.

    Reference:
        Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), section 5.4.
    """
    generator, count = make_generator("adding", part, length), ADDING_COUNTS[part]
    numbers = torch.rand(count, length, generator=generator)
    first = torch.randint(0, length // 2, (count, 1), generator=generator)
    second = torch.randint(length // 2, length, (count, 1), generator=generator)
    marks = torch.zeros_like(numbers).scatter_(1, torch.cat([first, second], dim=1), 1.0)
    return Signals(torch.stack([numbers, marks], dim=1), (numbers * marks).sum(1))


def make_waveforms(part: str, length: int, missing: float, subsample: int) -> Signals:
    """Make periodic signals that were sampled at irregular times; their shapes are the classes.

    Of `length` evenly spaced samples a random share `missing` is dropped, others from each signal. Frequency (2 to 4
    periods) and phase are random, and Gaussian noise of standard deviation 0.1 is added.

    Returns:
        Values (N, 2, T), each sample and its time stamp from 0 to 1, in order of time, and labels (N,) int64.
    """
    generator, count = make_generator("waveforms", part, length, str(missing)), WAVEFORM_COUNTS[part]
    kept = length - round(missing * length)
    places = torch.rand(count, length, generator=generator).topk(kept).indices.sort(dim=1).values
    times = places[:, ::subsample] / length
    labels = torch.randint(0, len(SHAPES_OF_WAVES), (count,), generator=generator)
    frequency, phase = (torch.rand(2, count, 1, generator=generator) * torch.tensor([2.0, 1.0]).view(2, 1, 1)).unbind()
    noise = torch.randn(count, kept, generator=generator)[:, ::subsample] * WAVE_NOISE
    waves = _waves((2 + frequency) * times + phase)
    values = waves.gather(0, labels.view(1, -1, 1).expand(1, *times.shape))[0] + noise
    return Signals(torch.stack([values, times], dim=1), labels)


def _waves(turns: Tensor) -> Tensor:
    """Return the four shapes of amplitude 1 after a number of turns, (4, *)."""
    turn = turns % 1
    sine = (2 * torch.pi * turn).sin()
    square = torch.where(turn < 0.5, 1.0, -1.0)
    triangle = 1 - 4 * (turn - 0.5).abs()
    return torch.stack([sine, square, triangle, 2 * turn - 1])


class SignalLoader(EpochLoader):
    """Batches of signals, which come as they are: no augmentation, no normalisation.

    Args:
        signals: values and labels.
        settings: settings of the batches.
    """

    def __init__(self, signals: Signals, settings: LoaderSettings) -> None:
        super().__init__(len(signals.labels), settings)
        self._values = signals.values.to(settings.device)
        self._labels = signals.labels.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self._values[indices], self._labels[indices], indices)
