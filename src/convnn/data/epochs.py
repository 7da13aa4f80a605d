"""What every loader does alike: the order of an epoch, normalisation and noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.data.images import channel_values, normalise
from convnn.data.seeds import make_generator


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How a loader turns images into batches.

    Attributes:
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
        device: where the batches go.
        batch_size: samples per batch, at least 1.
        shuffle: a new random order in every epoch; otherwise every epoch is the same.
        noise: standard deviation of the Gaussian noise added to normalised images, at least 0.
        seed: of order, augmentation and noise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    batch_size: int = 256
    shuffle: bool = False
    noise: float = 0.0
    seed: int = 0


class EpochLoader:
    """Base of the loaders: everything random is a function of the seed, the epoch and the step or sample.

    Attributes:
        num_samples: samples per epoch.
    """

    def __init__(self, num_samples: int, settings: LoaderSettings) -> None:
        self.num_samples = num_samples
        self._settings = settings
        self._epoch = 0
        self._mean = channel_values(settings.mean, settings.device)
        self._std = channel_values(settings.std, settings.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.num_samples // self._settings.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; without shuffling every epoch is epoch 0."""
        self._epoch = epoch if self._settings.shuffle else 0

    def _order(self) -> Tensor:
        """(num_samples,) int64 on the CPU, so that every device sees the same order."""
        if not self._settings.shuffle:
            return torch.arange(self.num_samples)
        generator = make_generator("order", self._settings.seed, self._epoch)
        return torch.randperm(self.num_samples, generator=generator)

    def _to_input(self, images: Tensor, epoch: int, step: int) -> Tensor:
        """(B, C, H, W) uint8 images on the device to normalised, noisy float32."""
        images = normalise(images, self._mean, self._std)
        if self._settings.noise == 0:
            return images
        generator = make_generator("noise", self._settings.seed, epoch, step, device=images.device)
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        return images.add_(noise, alpha=self._settings.noise)
