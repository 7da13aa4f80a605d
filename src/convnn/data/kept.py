import torch
from torch import Tensor

from convnn.data.images import Size


class KeptImages:
    """Decoded images in the memory of the device, as far as they have been read.

    Args:
        labels: of all samples of the set.
        size: of the images.
        device: where they live.
    """

    def __init__(self, labels: list[int], size: Size, device: torch.device) -> None:
        self._images = torch.empty(len(labels), 3, *size, dtype=torch.uint8, device=device)
        self._labels = torch.tensor(labels, dtype=torch.long, device=device)
        self._is_read = torch.zeros(len(labels), dtype=torch.bool)
        self._is_broken = torch.zeros(len(labels), dtype=torch.bool)

    def knows(self, indices: Tensor) -> bool:
        """Whether all of these samples have been read, or found broken."""
        return bool((self._is_read | self._is_broken)[indices].all())

    def keep(self, asked: Tensor, indices: Tensor, images: Tensor) -> None:
        """Take up images (B, 3, H, W) of some samples; those asked for that are not among them are broken."""
        self._images[indices.to(self._images.device)] = images
        self._is_broken[asked] = True
        self._is_broken[indices] = False
        self._is_read[indices] = True

    def recall(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images and labels of those that are not broken, and which they are."""
        read = indices[self._is_read[indices]]
        there = read.to(self._images.device)
        return self._images[there], self._labels[there], read
