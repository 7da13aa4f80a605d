"""Data sets of mixtures of Gaussians, fitted once to images and points, and kept in memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.data.solids import SOLIDS, make_solids
from convnn.data.sources import read_digits
from convnn.ops.mixtures import Mixture, fit_images, fit_points

COUNTS = {"train": 800, "test": 200}
"""Number of generated solids of each part."""
GAUSSIANS = {"mixture_digits": 8, "solids": 12}
"""How many Gaussians a mixture has unless options say otherwise."""


class MixtureLoader(EpochLoader):
    """Batches of packed mixtures (B, C, N, P, 1, 1, 1), which begin as `Mixture.packed`, and their labels."""

    def __init__(self, packed: Tensor, labels: Tensor, settings: LoaderSettings) -> None:
        super().__init__(len(labels), settings)
        self._packed, self._labels = packed[..., None, None, None].to(settings.device), labels.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self._packed[indices], self._labels[indices], indices)


def build_mixtures(options: Options) -> LabelledData:
    """Build mixtures of the digits, or of generated solids; the shape is (C, N, P, 1, 1, 1)."""
    count = GAUSSIANS[options.name] if options.gaussians is None else options.gaussians
    make, classes = (_digits, read_digits().classes) if options.name == "mixture_digits" else (_solids, SOLIDS)
    loaders, shape = {}, (0,)
    for part in COUNTS:
        chosen, labels, fit = make(part, options)
        packed = fit(chosen, count).packed
        loaders[part] = MixtureLoader(packed, labels, options.settings(part, ((), ())))
        shape = tuple(packed.shape[1:])
    shape = (*shape, 1, 1, 1)
    return LabelledData(options.name, loaders["train"], loaders["test"], classes, shape, (), (), kind="mixture")


Made = tuple[Tensor, Tensor, Callable[[Tensor, int], Mixture]]


def _digits(part: str, options: Options) -> Made:
    """Return the chosen images of a part, their labels, and what fits mixtures to them."""
    tensors = getattr(read_digits(), part)
    subset = options.subset(part, len(tensors.labels))
    generator = make_generator("mixtures", options.name, part)
    return (
        tensors.images[subset].float() / 255,
        tensors.labels[subset],
        lambda images, count: fit_images(images, count, generator=generator),
    )


def _solids(part: str, options: Options) -> Made:
    """Return the chosen solids of a part as points, their labels, and what fits mixtures to them."""
    points, labels = make_solids(COUNTS[part], seed=list(COUNTS).index(part))
    subset = torch.tensor(options.subset(part, len(labels)))
    generator = make_generator("mixtures", options.name, part)
    return points[subset], labels[subset], lambda some, count: fit_points(some, count, generator=generator)
