"""Learning without labels that two views of an image belong together."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data import Batch, LabelledData
from convnn.data.augment import random_view
from convnn.data.images import channel_values, denormalise
from convnn.data.seeds import Draws
from convnn.errors import InputError
from convnn.models import Network
from convnn.objectives.contrastive import InfoNCE, spectral_contrast
from convnn.train.config import TrainConfig
from convnn.train.objective import Objective, Outcome
from convnn.train.schemes.probe import Probe


class Contrast(Objective):
    """Two views of each image attract each other and repel those of all other images of the batch.

    The network's last linear layer learns the labels from the features of both views, which it does not change, so
    that the accuracy of the run is that of a linear probe. Each process contrasts the images that it has.

    Args:
        network: a network that ends in a linear layer.
        config: flags of the run.
        data: images.

    Raises:
        InputError: the network ends in another layer, or an argument of the loss is out of range.
    """

    terms: ClassVar[tuple[str, ...]] = ("contrast", "probe")

    def __init__(self, network: Network, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config.criterion)
        self.is_spectral = config.objective == "spectral"
        self.mean, self.std = data.mean, data.std
        self.probe = Probe(network)
        self.contrast = InfoNCE(
            self.probe.width,
            config.projection_dim,
            config.projection_hidden,
            temperature=config.contrast_temperature,
            gamma=config.gamma,
            mixture=None if config.mixture == "none" else config.mixture,
            weight=config.mixture_weight,
            negatives=config.negatives,
        )

    def learn(self, batch: Batch) -> Outcome:
        """Return the contrast of two views, and the criterion of the probe."""
        count = len(batch.labels)
        if count < 2:
            raise InputError(f"--objective contrasts images with others, but a batch has {count}; raise --batch_size")
        images = denormalise(batch.inputs, self.mean, self.std)
        logits = self.network(torch.cat([self._view(images), self._view(images)]))
        assert self.probe.features is not None  # the network has called its last layer
        first, second = self.probe.features.chunk(2)
        parts = {
            "contrast": count * self._contrast(first, second),
            "probe": self.criterion(logits, batch.labels.repeat(2)) / 2,
        }
        terms = {name: part.detach() for name, part in parts.items()}
        return Outcome(parts["contrast"] + parts["probe"], logits[:count], terms)

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        if not self.is_spectral:
            return self.contrast(first, second)["contrast"]
        return spectral_contrast(*(F.normalize(self.contrast.project(h), dim=1) for h in (first, second)))

    def _view(self, images: Tensor) -> Tensor:
        """Return another view of images between 0 and 1, normalised as the network reads them."""
        generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())))
        views = random_view(images, Draws(generator, len(images), torch.arange(len(images), device=images.device)))
        mean, std = (channel_values(values, images.device) for values in (self.mean, self.std))
        return (views - mean) / std
