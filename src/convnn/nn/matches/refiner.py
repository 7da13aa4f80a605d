"""A warp is refined by what it brings together: features, where they came from, and how similar those around are."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.ops.matches import cell_centers, check_flow, check_maps, local_correlation, sample_at


class WarpRefiner(nn.Module):
    r"""Say how certain each cell's target is, and where it should move.

    Of a map x, the support at the targets :math:`\hat x = y(g)`, which gets no gradient, an embedding of the steps from
    the cells to their targets, and the similarities of `local_correlation`, blocks of a convolution k x k, batch
    normalisation, ReLU and a 1x1 convolution make three numbers a cell.

    Args:
        channels: C of the maps.
        hidden: channels of the blocks; None is as many as go in.
        kernel_size: k, odd.
        blocks: blocks after the first, at least 0.
        depthwise: convolve every channel with kernels of its own; `hidden` is then a multiple of what goes in.
        embedding: channels of the embedding of steps; 0 has none.
        radius: of the window of similarities; None has none.
        around_target: compare with y around the targets, with gradients; otherwise with :math:`\hat x` around the cell.
        support: whether :math:`\hat x` is seen; otherwise its channels are 0.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Edstedt et al., "DKM: Dense Kernelized Feature Matching", arXiv 2202.00667. Published are eight blocks of k = 5
        at each of the strides 16, 8, 4, 2 and 1, with radius 7, 3 and 2 at the first three.

    Example:
        >>> refiner = WarpRefiner(4, blocks=1, radius=1)
        >>> x, y = torch.rand(2, 2, 4, 6, 5)
        >>> certainty, displacement = refiner(x, y, torch.zeros(2, 2, 6, 5))
        >>> certainty.shape, displacement.shape
        (torch.Size([2, 1, 6, 5]), torch.Size([2, 2, 6, 5]))
    """

    def __init__(
        self,
        channels: int,
        hidden: int | None = None,
        *,
        kernel_size: int = 5,
        blocks: int = 8,
        depthwise: bool = True,
        embedding: int = 0,
        radius: int | None = None,
        around_target: bool = True,
        support: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_at_least("blocks", blocks, 0)
        check_at_least("embedding", embedding, 0)
        check_odd("kernel_size", kernel_size)
        if radius is not None:
            check_at_least("radius", radius, 0)
        entering = 2 * channels + embedding + (0 if radius is None else (2 * radius + 1) ** 2)
        hidden = entering if hidden is None else hidden
        check_at_least("hidden", hidden, 1)
        if depthwise and hidden % entering:
            raise InputError(f"hidden={hidden} must be a multiple of {entering}, the channels that enter, if depthwise")
        self.channels, self.radius, self.around_target, self.support = channels, radius, around_target, support
        self.embed = nn.Conv2d(2, embedding, 1) if embedding else None
        widths = [entering, *[hidden] * blocks]
        self.blocks = nn.Sequential(*(_block(width, hidden, kernel_size, depthwise) for width in widths))
        self.output = nn.Conv2d(hidden, 3, 1)

    def forward(self, x: Tensor, y: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Map x and y (B, C, H, W), and targets (B, 2, H, W) in y, to certainty (B, 1, H, W) and steps (B, 2, H, W).

        Raises:
            InputError: shapes do not agree.
        """
        check_maps(x, y)
        check_flow(flow, x)
        if x.shape[1] != self.channels:
            raise InputError(f"x of shape {tuple(x.shape)} must have {self.channels} channels")
        with torch.no_grad():
            warped = sample_at(y, flow)
        parts = [x, warped if self.support else torch.zeros_like(warped)]
        if self.embed is not None:
            parts.append(self.embed(flow - cell_centers(x)))
        if self.radius is not None:
            other, places = (y, flow) if self.around_target else (warped, None)
            parts.append(local_correlation(x, other, self.radius, places))
        return tuple(self.output(self.blocks(torch.cat(parts, 1))).split([1, 2], 1))


def _block(in_channels: int, out_channels: int, kernel_size: int, depthwise: bool) -> nn.Sequential:
    groups = in_channels if depthwise else 1
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1),
    )


def refine(
    flow: Tensor, certainty: Tensor, refined: tuple[Tensor, Tensor], stride: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    r"""Return a flow and a certainty after what a refiner said: a displacement d moves x by :math:`s d_x / (4 W)`.

    Args:
        flow: (B, 2, h, w) targets.
        certainty: (B, 1, h, w) logits.
        refined: certainty and displacement, as `WarpRefiner` returns them; the certainties are added.
        stride: s, pixels from one cell to the next, at least 1.
        size: H and W of the image.

    Raises:
        InputError: the stride or a side is below 1.

    Reference:
        Edstedt et al., arXiv 2202.00667.
    """
    check_at_least("stride", stride, 1)
    for side in size:
        check_at_least("size", side, 1)
    scale = flow.new_tensor([stride / (4 * size[1]), stride / (4 * size[0])]).reshape(1, 2, 1, 1)
    return flow + scale * refined[1], certainty + refined[0]
