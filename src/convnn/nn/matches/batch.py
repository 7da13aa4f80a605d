"""What a network on pairs of images reads: two images, and where every pixel of the first goes in the second."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError


class ImagePairs(NamedTuple):
    """Pairs of images with their motion.

    Attributes:
        first, second: images (B, 3, H, W) with values from 0 to 255.
        flow: (B, 2, H, W), how many pixels each pixel of the first moves to the right and down.
        known: (B, H, W) bool, of which pixels that is known; all others are neither learned nor judged.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    known: Tensor

    def to(self, device: torch.device | str) -> "ImagePairs":
        """Return the pairs on a device."""
        return ImagePairs(*(one.to(device) for one in self))


def still_pairs(count: int, height: int, width: int, device: torch.device | str = "cpu") -> ImagePairs:
    """Return pairs of black images in which nothing moves."""
    image, flow = (torch.zeros(count, channels, height, width, device=device) for channels in (3, 2))
    return ImagePairs(image, image, flow, torch.ones(count, height, width, dtype=torch.bool, device=device))


def pairs_of_images(first: Tensor, second: Tensor) -> ImagePairs:
    """Return pairs of images (B, 3, H, W) whose motion nobody has told, with that of `still_pairs` in its place."""
    still = still_pairs(first.shape[0], first.shape[2], first.shape[3], first.device)
    return ImagePairs(first, second, still.flow.to(first), still.known)


def stack_pairs(pairs: list[ImagePairs], height: int, width: int) -> ImagePairs:
    """Return the pairs of all of a list, possibly of none, in its order."""
    parts = zip(*(pairs or [still_pairs(0, height, width)]), strict=True)
    return ImagePairs(*(torch.cat(one) for one in parts))


def check_pairs(pairs: ImagePairs) -> None:
    """Refuse what is no batch of pairs of images.

    Raises:
        InputError: a shape or type is another.
    """
    if not isinstance(pairs, ImagePairs):
        raise InputError(f"inputs of type {type(pairs).__name__} must be convnn.nn.matches.batch.ImagePairs")
    first, second, flow, known = pairs
    if first.dim() != 4 or first.shape[1] != 3 or not first.is_floating_point() or second.shape != first.shape:
        raise InputError(
            f"first of shape {tuple(first.shape)} and second of shape {tuple(second.shape)} must both be (B, 3, H, W),"
            " floating"
        )
    sides = first.shape[2:]
    if flow.shape != (first.shape[0], 2, *sides) or known.shape != (first.shape[0], *sides):
        raise InputError(
            f"flow of shape {tuple(flow.shape)} and known of shape {tuple(known.shape)} must be (B, 2, H, W) and"
            f" (B, H, W) for images of shape {tuple(first.shape)}"
        )
    if known.dtype != torch.bool:
        raise InputError(f"known of {known.dtype} must be bool")
