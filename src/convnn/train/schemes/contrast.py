"""Learning without labels that two views of an image belong together."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data import Batch, LabelledData, example_of
from convnn.data.augment import random_view
from convnn.data.images import channel_values, denormalise
from convnn.data.seeds import Draws
from convnn.errors import InputError
from convnn.models import Network
from convnn.nn._modes import evaluating
from convnn.objectives.contrastive import InfoNCE, kernel_info_nce, spectral_contrast
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
        InputError: the network ends in another layer, an argument of the loss is out of range, or batches are so small
            that an image has too few others.
    """

    terms: ClassVar[tuple[str, ...]] = ("contrast", "probe")

    def __init__(self, network: Network, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config.criterion)
        others = 2 * config.batch_size - 2
        if not others:
            raise InputError(f"--objective={config.objective} contrasts images with others; raise --batch_size=1")
        if config.negatives is not None and config.negatives > others:
            raise InputError(
                f"--negatives={config.negatives} must be at most {others}, the views of other images in a batch of"
                f" --batch_size={config.batch_size}"
            )
        self.is_spectral = config.objective == "spectral"
        self.mean, self.std = data.mean, data.std
        self.probe = Probe(network)
        device = next(network.parameters()).device
        with torch.no_grad(), evaluating(network), torch.random.fork_rng():  # some layers draw their neighbours
            self.probe.read(example_of(data.input_shape, data.kind, count=2, device=device))
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
        images = denormalise(batch.inputs, self.mean, self.std)
        features, logits = self.probe.read(torch.cat([self._view(images), self._view(images)]))
        first, second = features[:count], features[count:]
        parts = {
            "contrast": count * self._contrast(first, second),
            "probe": self.criterion(logits, batch.labels.repeat(2)) / 2,
        }
        return Outcome.of(logits[:count], parts)

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        views = [self.contrast.project(h) for h in (first, second)]  # also where they are not compared, for DDP
        if len(first) < 2:  # what is left for a process of a last batch: an image without others repels none
            return 0 * torch.stack([view.sum() for view in views]).sum()
        if self.is_spectral:
            return spectral_contrast(*(F.normalize(view, dim=1) for view in views))
        settings = self.contrast.settings
        if settings["negatives"] is not None:  # the last batch of an epoch may have fewer
            settings = settings | {"negatives": min(settings["negatives"], 2 * len(first) - 2)}
        return kernel_info_nce(*views, **settings)

    def _view(self, images: Tensor) -> Tensor:
        """Return another view of images between 0 and 1, normalised as the network reads them."""
        if not len(images):  # what is left for a process of a last batch may be nothing
            return images
        generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())))
        views = random_view(images, Draws(generator, len(images), torch.arange(len(images), device=images.device)))
        mean, std = (channel_values(values, images.device) for values in (self.mean, self.std))
        return (views - mean) / std
