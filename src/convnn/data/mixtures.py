"""Data sets of mixtures of Gaussians, fitted once to images and points, and kept in memory."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.data.solids import SOLIDS, make_solids
from convnn.data.sources import Tensors, read_digits
from convnn.ops.mixtures import Mixture, fit_images, fit_points

COUNTS = {"train": 800, "test": 200}
"""Number of generated solids of each part."""
SPLAT_KINDS = {"mixture_digits": 8, "solids": 12}
"""How many Gaussians a mixture has unless options say otherwise."""


class MixtureLoader(EpochLoader):
    """Batches of packed mixtures (B, C, N, P), which begin as `Mixture.packed`, and their labels.

    Args:
        fit: function that returns all mixtures, which is called once, when they are needed.
        labels: (N,) their classes.
        settings: settings of the batches.
    """

    def __init__(self, fit: Callable[[], Mixture], labels: Tensor, settings: LoaderSettings) -> None:
        super().__init__(len(labels), settings)
        self._fit, self._labels = fit, labels.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self._packed[indices], self._labels[indices], indices)

    @cached_property
    def _packed(self) -> Tensor:
        return self._fit().packed.to(self._settings.device)


def build_mixtures(options: Options) -> LabelledData:
    """Build mixtures of the digits, or of generated solids; the shape is (C, N, P)."""
    digits = read_digits() if options.name == "mixture_digits" else None
    count = SPLAT_KINDS[options.name] if options.gaussians is None else options.gaussians
    fit_to, dims, classes = (fit_points, 3, SOLIDS) if digits is None else (fit_images, 2, digits.classes)
    loaders = {}
    for seed, (part, number) in enumerate(COUNTS.items()):
        data, labels = make_solids(number, seed=seed) if digits is None else _images(getattr(digits, part))
        subset = torch.tensor(options.subset(part, len(labels)))
        generator = make_generator("mixtures", options.name, part)
        fit = partial(fit_to, data[subset], count, generator=generator)
        loaders[part] = MixtureLoader(fit, labels[subset], options.settings(part, ((), ())))
    shape = (1, count, 1 + dims + dims**2)
    return LabelledData(options.name, loaders["train"], loaders["test"], classes, shape, (), (), kind="mixture")


def _images(digits: Tensors) -> tuple[Tensor, Tensor]:
    """Return digits with values from 0 to 1, and their labels."""
    return digits.images.float() / 255, digits.labels
