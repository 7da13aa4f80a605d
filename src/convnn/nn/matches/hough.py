"""Convolution in the space of matches: each match gathers the votes of those that are related to it."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn.matches.classes import pair_classes
from convnn.ops.matches import convolve


class _HoughMatching(nn.Module):
    """A convolution of one channel whose entries share the weight of their class, divided by the size of the class.

    Args:
        sides: the side of the kernel and the number of axes of a map, for the scales if any, and for the cells.
        sharing: see `pair_classes`.
    """

    of_cells: Tensor
    of_scales: Tensor
    sizes: Tensor

    def __init__(self, sides: list[tuple[int, int]], sharing: str) -> None:
        super().__init__()
        self.sharing = sharing
        with torch.device("cpu"):  # also in a network on "meta", whose shapes depend on them
            classes = [pair_classes(side, axes, sharing) for side, axes in sides]
        sizes = [of.flatten().bincount() for of in classes]
        shape = [len(size) for size in sizes]
        self.axes = sum(of.dim() for of in classes)
        for name, of in zip(("of_cells", "of_scales"), reversed(classes), strict=False):
            self.register_buffer(name, of, persistent=False)
        size = sizes[0] if len(sizes) == 1 else sizes[0].unsqueeze(1) * sizes[1]
        self.register_buffer("sizes", size, persistent=False)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernel's entries as the absolute value of normal numbers of deviation 0.001; the bias is 0."""
        with torch.no_grad():
            self.weight.normal_(std=1e-3).abs_().mul_(self.sizes)
            self.bias.zero_()

    @property
    def kernel(self) -> Tensor:
        """The kernel, an axis for each of those of the matches."""
        shared = self.weight / self.sizes
        if shared.dim() == 1:
            return shared[self.of_cells]
        return shared[self.of_scales[..., None, None, None, None], self.of_cells]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, ...) to the same shape.

        Raises:
            InputError: x has another number of axes, or of channels, or numbers of scales that differ.
        """
        if x.dim() != self.axes + 2 or x.shape[1] != 1:
            scales = "S, S, " if self.axes > 4 else ""
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, 1, {scales}H, W, H', W')")
        if self.axes > 4 and x.shape[2] != x.shape[3]:
            raise InputError(f"x has {x.shape[2]} scales of the source and {x.shape[3]} of the target; give as many")
        return convolve(x, self.kernel[None, None], self.bias)

    def extra_repr(self) -> str:
        return f"kernel {'x'.join(map(str, self.kernel.shape))}, sharing={self.sharing}, {self.weight.numel()} weights"


class CHM4d(_HoughMatching):
    r"""Convolutional Hough matching: every match sums the votes of matches near it in both images.

    .. math:: y_{pq} = b + \sum_{s, t} \frac{w_{c(s, t)}}{|c(s, t)|} \, x_{p + s, q + t}

    over offsets s in the source and t in the target, with zeros outside; c(s, t) is the class of the pair, and |c| the
    number of pairs in it. It takes (B, 1, H, W, H', W'), maps of any sides. A kernel of side 5 has 55 weights with
    "psi", 15 with "iso" and 625 with "full"; one of side 3 has 11, 6 and 81.

    Args:
        kernel_size: K, odd, the side of the windows of s and of t.
        sharing: who shares a weight, "psi", "iso" or "full"; see `pair_classes`.

    Raises:
        InputError: the kernel size is even, or the sharing unknown.

    Reference:
        Min and Cho, "Convolutional Hough Matching Networks", arXiv 2103.16831, section 3. The published code means to
        scale the first weights by the sizes of the classes and does not; here it is done, as in six dimensions.

    Example:
        >>> CHM4d(5)(torch.rand(2, 1, 4, 5, 6, 3)).shape
        torch.Size([2, 1, 4, 5, 6, 3])
    """

    def __init__(self, kernel_size: int = 5, sharing: str = "psi") -> None:
        super().__init__([(kernel_size, 2)], sharing)


class CHM6d(_HoughMatching):
    r"""Convolutional Hough matching over positions and scales: (B, 1, S, S, H, W, H', W') to the same shape.

    .. math:: y_{uv} = b + \sum_{d, e} \frac{1}{|g(d, e)|} \sum_{s, t}
        \frac{w_{g(d, e) c(s, t)}}{|c(s, t)|} \, x_{u + d, v + e}(p + s, q + t)

    The pairs of steps d, e of scales have classes g by the rule of the pairs of offsets. With kernels of 5 and scales
    of 3 there are 220 weights with "psi", 45 with "iso" and 5,625 with "full".

    Args:
        kernel_size: side of the windows of positions, odd.
        sharing: who shares a weight, "psi", "iso" or "full"; see `pair_classes`.
        scale_kernel: side of the windows of scales, odd.

    Raises:
        InputError: a side is even, or the sharing unknown.

    Reference:
        Min and Cho, arXiv 2103.16831, section 3.
    """

    def __init__(self, kernel_size: int = 5, sharing: str = "psi", *, scale_kernel: int = 3) -> None:
        super().__init__([(scale_kernel, 1), (kernel_size, 2)], sharing)
