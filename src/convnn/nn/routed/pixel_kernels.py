r"""Kernels predicted for each pixel, from features in which matching cells of the background take part."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_odd


def pixel_kernel_conv(x: Tensor, kernels: Tensor, kernel_size: int) -> Tensor:
    r"""Convolve every pixel with a kernel of its own, which the channels of a group share.

    .. math:: y_c(i, j) = \sum_{a, d = 0}^{k - 1} w_{g(c) k^2 + a k + d}(i, j) \,
        x_c(i + a - \lfloor k / 2 \rfloor, j + d - \lfloor k / 2 \rfloor), \qquad g(c) = \lfloor c G / C \rfloor

    with zeros outside the map.

    Args:
        x: (B, C, H, W).
        kernels: (B, G * k^2, H, W), of G groups that divide C.
        kernel_size: k, odd.

    Returns:
        (B, C, H, W).

    Raises:
        InputError: k is even, or the kernels do not fit the map or its channels.

    Reference:
        Kernel prediction as in GKNet, arXiv 2305.11676; formulas are the simplest that its abstract allows.
    """
    check_odd("kernel_size", kernel_size)
    batch, channels, *size = x.shape
    places = kernel_size**2
    groups = kernels.shape[1] // places if kernels.dim() == 4 else 0
    if kernels.shape != (batch, groups * places, *size) or not groups or channels % groups:
        raise InputError(
            f"kernels of shape {tuple(kernels.shape)} must be ({batch}, G * {places}, {', '.join(map(str, size))}), for"
            f" G groups that divide the {channels} channels"
        )
    windows = F.unfold(x, kernel_size, padding=kernel_size // 2).view(batch, groups, -1, places, *size)
    return (windows * kernels.view(batch, groups, 1, places, *size)).sum(3).flatten(1, 2)


class SelectiveCorrelationFusion(nn.Module):
    r"""Add to every pixel what the cells of a reference map that match it best have, of those that are background.

    .. math:: s = \langle W_q l, W_k r \rangle / \sqrt{D}, \qquad
        f = l + W_o \sum_{\text{kept}} \operatorname{softmax}(s) \, W_v r

    Kept are the `top` cells with the highest score of each pixel, and all that score as much as the last of them.
    Without any usable cell the sum is 0.

    Args:
        channels: channels C of both maps.
        dim: channels D that are compared.
        top: cells that a pixel keeps; 0 keeps all, as does more than there are.

    Raises:
        InputError: a number is too small.

    Reference:
        GKNet, arXiv 2305.11676.
    """

    def __init__(self, channels: int, dim: int, top: int = 0) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_at_least("dim", dim, 1)
        check_at_least("top", top, 0)
        self.top = top
        self.query, self.key = nn.Conv2d(channels, dim, 1), nn.Conv2d(channels, dim, 1)
        self.value, self.output = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, reference: Tensor, background: Tensor) -> Tensor:
        """Map x (B, C, H, W), a reference map (B, C, h, w) and its usable cells (B, h, w) to (B, C, H, W).

        Raises:
            InputError: `background` is not of the cells of the reference map.
        """
        if background.shape != (reference.shape[0], *reference.shape[2:]) or reference.shape[0] != x.shape[0]:
            raise InputError(
                f"background of shape {tuple(background.shape)} must be ({x.shape[0]}, h, w) for reference of shape"
                f" {tuple(reference.shape)} and x of shape {tuple(x.shape)}"
            )
        query, key = self.query(x).flatten(2), self.key(reference).flatten(2)
        scores = query.mT @ key / query.shape[1] ** 0.5
        kept = background.flatten(1).bool().unsqueeze(1).expand_as(scores)
        if 0 < self.top < scores.shape[2]:
            ranked = scores.detach().masked_fill(~kept, -torch.inf)
            kept = kept & (ranked >= ranked.topk(self.top).values[..., -1:])
        none = ~kept.any(-1, keepdim=True)  # before the softmax, which would be NaN, as would its gradient
        weights = scores.masked_fill(~kept & ~none, -torch.inf).softmax(-1).masked_fill(none, 0)
        found = (weights @ self.value(reference).flatten(2).mT).mT.unflatten(2, x.shape[2:])
        return x + self.output(found)


class KernelPrediction(nn.Module):
    """Predict a k x k kernel for every pixel and group: two convolutions, and 1 in the middle, so that zeros copy.

    Args:
        channels: channels C of the features, which is (B, C, H, W) to (B, groups * k^2, H, W).
        groups: groups of channels that share a kernel.
        kernel_size: k, odd.

    Raises:
        InputError: k is even, or a number is less than 1.
    """

    def __init__(self, channels: int, groups: int, kernel_size: int = 3) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        check_at_least("groups", groups, 1)
        self.groups, self.kernel_size = groups, kernel_size
        self.features = nn.Conv2d(channels, channels, 3, padding=1)
        self.kernels = nn.Conv2d(channels, groups * kernel_size**2, 1)
        for name, one in self.kernels.named_parameters():
            nn.init.normal_(one, std=0.01) if name == "weight" else nn.init.zeros_(one)
        centre = torch.zeros(groups, kernel_size**2)
        centre[:, kernel_size**2 // 2] = 1
        self.centre: Tensor
        self.register_buffer("centre", centre.view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to kernels (B, groups * k^2, H, W)."""
        return self.kernels(F.relu(self.features(x))) + self.centre


class PixelKernels2d(nn.Module):
    r"""Change the foreground of a map by kernels for each pixel, predicted from it and from matching background.

    .. math:: y = M \odot (w * x) + (1 - M) \odot x, \qquad w = \operatorname{predict}(\operatorname{fuse}(x, r, b))

    Args:
        channels: channels C, a multiple of the groups.
        dim: channels that are compared.
        top: cells of the background that a pixel keeps, 0 for all.
        groups: groups of channels that share a kernel.
        kernel_size: k, odd.

    Raises:
        InputError: a number is too small, k is even, or the groups do not divide the channels.

    Reference:
        GKNet, arXiv 2305.11676, whose published network is larger; there is no public code.
    """

    def __init__(self, channels: int, dim: int, *, top: int = 8, groups: int = 1, kernel_size: int = 3) -> None:
        super().__init__()
        self.fuse = SelectiveCorrelationFusion(channels, dim, top)
        self.predict = KernelPrediction(channels, groups, kernel_size)
        if channels % groups:
            raise InputError(f"channels={channels} must be a multiple of groups={groups}")

    def forward(self, x: Tensor, reference: Tensor, mask: Tensor, background: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: the map.
            reference: (B, C, h, w), what far parts of the image look like.
            mask: (B, 1, H, W) in [0, 1], the foreground.
            background: (B, h, w), not 0 where a cell of the reference map may be used.

        Raises:
            InputError: a shape does not fit, or the mask leaves [0, 1].
        """
        if mask.shape != (x.shape[0], 1, *x.shape[2:]) or not ((mask >= 0) & (mask <= 1)).all():
            raise InputError(
                f"mask of shape {tuple(mask.shape)} must be ({x.shape[0]}, 1, {x.shape[2]}, {x.shape[3]}) with values"
                " from 0 to 1"
            )
        changed = pixel_kernel_conv(x, self.predict(self.fuse(x, reference, background)), self.predict.kernel_size)
        return mask * changed + (1 - mask) * x
