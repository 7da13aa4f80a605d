"""Gram triples of features and of patches, from which deep kernel machines start."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnn.errors import InputError, check_odd
from convnn.learners.deep.gram import Gram


class FeatureGram(nn.Module):
    r"""Inner products of points and inducing points, :math:`x \cdot z / D`.

    Args:
        points: (P, D) the inducing points.
        learned: whether they are parameters.
    """

    points: Tensor

    def __init__(self, points: Tensor, *, learned: bool = True) -> None:
        super().__init__()
        _keep(self, "points", points, learned)

    def forward(self, x: Tensor) -> Gram:
        """Return the triple of points (B, D).

        Raises:
            InputError: points have another number of features.
        """
        width = self.points.shape[1]
        if x.ndim != 2 or x.shape[1] != width:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, {width}), with the features of inducing points")
        ii, ti = self.points @ self.points.T / width, x @ self.points.T / width
        return Gram(ii, ti, x.square().mean(1), x.new_zeros(()))


class PatchGram(nn.Module):
    r"""Inner products of the patches of images with inducing patches, divided by the number of values in a patch.

    Images are padded with zeros in `ti`. In `t` padding does not count: it is the mean over the values of a patch that
    are in the image, as in the published code.

    Args:
        patches: (P, C, k, k) the inducing patches, of an odd side.
        learned: whether they are parameters.

    Raises:
        InputError: patches are not square, or of an even side.
    """

    patches: Tensor

    def __init__(self, patches: Tensor, *, learned: bool = True) -> None:
        super().__init__()
        if patches.ndim != 4 or patches.shape[2] != patches.shape[3] or not patches.shape[0]:
            raise InputError(f"patches of shape {tuple(patches.shape)} must be (P, C, k, k), at least one, and square")
        check_odd("the side of patches", patches.shape[2])
        _keep(self, "patches", patches, learned)

    def forward(self, x: Tensor) -> Gram:
        """Return the triple of all pixels of images (B, C, H, W): `ti` is (B, H, W, P).

        Raises:
            InputError: images have another number of channels.
        """
        _, channels, side, _ = self.patches.shape
        if x.ndim != 4 or x.shape[1] != channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, {channels}, H, W), with the channels of patches")
        flat, size = self.patches.flatten(1), channels * side**2
        ti = F.conv2d(x, self.patches, padding=side // 2).movedim(1, -1)
        t = window_mean(x.square().mean(1), side)
        return Gram(flat @ flat.T / size, ti / size, t, x.new_zeros(()))


def window_mean(t: Tensor, side: int, stride: int = 1) -> Tensor:
    """Return means over windows of maps (B, H, W), of the pixels that are in the map."""
    return F.avg_pool2d(t[:, None], side, stride, side // 2, count_include_pad=False)[:, 0]


def draw_patches(images: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    """Return patches (count, C, side, side) at random places of random images (B, C, H, W), padded with zeros."""
    chosen = images[torch.randint(images.shape[0], (count,), generator=generator).to(images.device)]
    unfolded = F.unfold(chosen, side, padding=side // 2)
    place = torch.randint(unfolded.shape[2], (count,), generator=generator).to(images.device)
    return unfolded[torch.arange(count, device=images.device), :, place].view(count, images.shape[1], side, side)


def _keep(module: nn.Module, name: str, value: Tensor, learned: bool) -> None:
    """Give a module a parameter, or a buffer."""
    if learned:
        module.register_parameter(name, nn.Parameter(value.detach().clone()))
    else:
        module.register_buffer(name, value)
