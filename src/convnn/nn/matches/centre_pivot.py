"""A convolution in the space of matches that moves in one image at a time."""

from collections.abc import Sequence

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd

Size = int | Sequence[int]


class CentrePivotConv4d(nn.Module):
    r"""Convolve over the cells of the source, and over those of the target, and add both.

    .. math:: y_{pq} = b + b' + \sum_s W_s \, x_{p + s, q} + \sum_t W'_t \, x_{p, q + t}

    Of a kernel over four axes these are the entries where one of both offsets is 0: 49 of 625 for a side of 5. It is
    much cheaper, but no match gets a vote of one that lies away from it in both images.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size: a side, or one for the source's and one for the target's windows; odd.
        bias: whether there are b and b'.

    Raises:
        InputError: a side is even, or a number of channels is below 1.

    Reference:
        Min et al., "Hypercorrelation Squeeze for Few-Shot Segmentation", arXiv 2104.01538, section 4.2.

    Example:
        >>> import torch
        >>> CentrePivotConv4d(2, 3, (3, 5))(torch.rand(1, 2, 4, 5, 6, 3)).shape
        torch.Size([1, 3, 4, 5, 6, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, *, bias: bool = True) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        sides = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
        if len(sides) != 2:
            raise InputError(f"kernel_size={kernel_size!r} must be a side, or one for each of source and target")
        for side in sides:
            check_odd("kernel_size", side)
        self.source, self.target = (
            nn.Conv2d(in_channels, out_channels, side, padding=side // 2, bias=bias) for side in sides
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W, H', W') to (B, C_out, H, W, H', W').

        Raises:
            InputError: x has another number of axes or channels.
        """
        if x.dim() != 6 or x.shape[1] != self.source.in_channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, {self.source.in_channels}, H, W, H', W')")
        batch, height, width = x.shape[0], *x.shape[2:4]
        of_source = self.source(x.permute(0, 4, 5, 1, 2, 3).flatten(0, 2))
        of_target = self.target(x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2))
        of_source = of_source.unflatten(0, (batch, *x.shape[4:])).permute(0, 3, 4, 5, 1, 2)
        return of_source + of_target.unflatten(0, (batch, height, width)).permute(0, 3, 1, 2, 4, 5)
