import torch
from torch import Tensor

from convnn.data.images import Size


class ImageCache:
    """Decoded images in the memory of the device, filled as they are read.

    Args:
        labels: labels of all samples of the set.
        size: size of the images.
        device: device that stores them.
        channels: of the images, with their masks if they have any.
    """

    def __init__(self, labels: list[int], size: Size, device: torch.device, channels: int = 3) -> None:
        self._images = torch.empty(len(labels), channels, *size, dtype=torch.uint8, device=device)
        self._labels = torch.tensor(labels, dtype=torch.long, device=device)
        self._is_read = torch.zeros(len(labels), dtype=torch.bool)
        self._is_broken = torch.zeros(len(labels), dtype=torch.bool)

    def covers(self, indices: Tensor) -> bool:
        """Return whether all of these samples have been read or found broken."""
        return bool((self._is_read | self._is_broken)[indices].all())

    def add(self, requested: Tensor, indices: Tensor, images: Tensor) -> None:
        """Store images (B, C, H, W) of the samples `indices`; requested samples that are not among them are broken."""
        self._images[indices.to(self._images.device)] = images
        self._is_broken[requested] = True
        self._is_broken[indices] = False
        self._is_read[indices] = True

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images, labels and indices of the samples that are not broken."""
        intact = indices[self._is_read[indices]]
        on_device = intact.to(self._images.device)
        return self._images[on_device], self._labels[on_device], intact
