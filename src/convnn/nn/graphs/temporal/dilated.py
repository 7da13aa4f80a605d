"""Graph convolution of skeletons that reads the joints at a distance."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs.temporal.joints import check_parts, check_skeletons


def dilate_adjacency(adjacency: Tensor, dilation: int, *, window: bool = False) -> Tensor:
    """Return which joints are a number of steps away, in each subset by itself: (S, V, V) of 0 and 1.

    The steps are those of the shortest directed path. A subset that is the identity stays as it is. Where no path is as
    long, nothing is left.

    Args:
        adjacency: (S, V, V) of 0 and 1; [s, i, j] is 1 where joint j sends to joint i.
        dilation: d, the number of steps.
        window: take all joints from 1 to d steps away, and not those d steps away alone.

    Raises:
        InputError: the adjacency has another shape or other values, or the dilation is less than 1.

    Reference:
        Lee et al., arXiv 2212.04761. Its code is not public; exactly d steps, not up to d, is an assumption.
    """
    check_parts(adjacency)
    check_at_least("dilation", dilation, 1)
    if not torch.compiler.is_compiling() and bool(((adjacency != 0) & (adjacency != 1)).any()):
        raise InputError("adjacency must have entries 0 and 1 alone")
    itself = torch.eye(adjacency.shape[1], dtype=adjacency.dtype, device=adjacency.device)
    seen = found = itself.expand_as(adjacency)
    for _ in range(dilation):
        found = ((adjacency @ found) * (1 - seen)).clamp_max(1)
        seen = seen + found
    found = seen - itself if window else found
    return torch.where((adjacency == itself).all((1, 2), keepdim=True), adjacency, found)


def normalize_targets(adjacency: Tensor) -> Tensor:
    """Return the adjacency (S, V, V) with columns of sum 1, so that a joint's share is divided among its targets.

    A column of zeros stays.
    """
    total = adjacency.sum(1, keepdim=True)
    return adjacency / total.masked_fill(total == 0, 1)


class DilatedGraphConv(nn.Module):
    r"""Dilated kernel graph convolution: a linear map for each subset of the joints that are d steps away.

    .. math:: y_i = \sum_s \sum_j \tilde A^{(d)}_{sij} (W_s x_j + b_s)

    in each frame, with :math:`\tilde A^{(d)}` of `normalize_targets(dilate_adjacency(A, d))`. The bias is within the
    sum: a joint that none sends to has none. The parameters are the same for every d, and d = 1 is the ordinary
    convolution of skeletons. A single layer with d > 1 sees fewer joints; a stack of layers with different d sees more.

    Args:
        in_channels: C.
        out_channels: O.
        num_subsets: S, such as 3 of `skeleton_subsets`.

    Raises:
        InputError: a number is out of range.

    Reference:
        Lee et al., "Leveraging Spatio-Temporal Dependency for Skeleton-Based Action Recognition", arXiv 2212.04761. Its
        code is not public; the subsets and their normalisation are those of CTR-GCN, arXiv 2107.12213, by assumption.

    Example:
        >>> from convnn.nn.graphs import skeleton_subsets
        >>> chain = skeleton_subsets([(1, 0), (2, 1), (3, 2)], 4)
        >>> DilatedGraphConv(3, 8)(torch.randn(2, 3, 16, 4), chain, dilation=2).shape
        torch.Size([2, 8, 16, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, num_subsets: int = 3) -> None:
        super().__init__()
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "num_subsets": num_subsets}
        for name, number in numbers.items():
            check_at_least(name, number, 1)
        self.in_channels, self.out_channels, self.num_subsets = in_channels, out_channels, num_subsets
        self.weight = nn.Parameter(torch.empty(num_subsets, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(num_subsets, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly, bounded by the root of the input channels, as a linear map of torch does."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.in_channels**-0.5), self.in_channels**-0.5)

    def forward(self, x: Tensor, adjacency: Tensor, dilation: int = 1, *, window: bool = False) -> Tensor:
        """Map (B, C, T, V) to (B, O, T, V).

        Args:
            x: (B, C, T, V).
            adjacency: (S, V, V) of 0 and 1, as in `dilate_adjacency`.
            dilation: d.
            window: read all joints from 1 to d steps away.

        Raises:
            InputError: a shape is wrong, x is not floating, or `dilate_adjacency` refuses the rest.
        """
        check_skeletons(x, self.in_channels)
        check_parts(adjacency, x.shape[3])
        if adjacency.shape[0] != self.num_subsets:
            raise InputError(f"adjacency has {adjacency.shape[0]} subsets; it must have {self.num_subsets}")
        shares = normalize_targets(dilate_adjacency(adjacency, dilation, window=window).to(x))
        mapped = torch.einsum("soc,bctj->bsotj", self.weight, x) + self.bias[:, :, None, None]
        return torch.einsum("sij,bsotj->boti", shares, mapped)

    def extra_repr(self) -> str:
        """Show channels and subsets."""
        return f"{self.in_channels}, {self.out_channels}, num_subsets={self.num_subsets}"
