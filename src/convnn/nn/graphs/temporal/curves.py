"""Convolution over time along curves, which lead from each joint to the nearest one in the next frame."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_odd
from convnn.nn.graphs.temporal.joints import check_skeletons
from convnn.ops import aggregate, select
from convnn.ops.neighbors import Neighbors


def temporal_links(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the nearest joint in the next frame, and in the one before, of every joint.

    .. math:: n^\pm(t, v) = \arg\min_u \lVert x_{t, v} - x_{t \pm 1, u} \rVert^2

    Of equal distances, which count as in `convnn.ops.select.nearest`, the joint of the lowest index is chosen. Several
    joints may lead to the same one. The choice has no gradient.

    Args:
        x: (B, C, T, V) features of V joints in T frames.

    Returns:
        For the frames 0 to T-2 and for 1 to T-1, both (B, T-1, V) int64.

    Raises:
        InputError: x has another shape, is not floating, or has NaN, from which nothing is nearest.
    """
    check_skeletons(x, x.shape[1] if x.dim() == 4 else 0)
    if not torch.compiler.is_compiling() and bool(x.isnan().any()):
        raise InputError("x has NaN, from which no joint is nearest")
    rows = x.detach().movedim(1, -1)
    shape = (x.shape[0], x.shape[2] - 1, x.shape[3])
    frames, following = rows[:, :-1].flatten(0, 1), rows[:, 1:].flatten(0, 1)
    there = select.nearest(frames, following, 1, metric="euclidean").indices
    back = select.nearest(following, frames, 1, metric="euclidean").indices
    return there.view(shape), back.view(shape)


def curves(links: tuple[Tensor, Tensor], kernel_size: int) -> Neighbors:
    """Return the joints along the curve through each joint of each frame, as neighbours of a kernel.

    A curve goes from joint to joint by the links, h = (kernel_size - 1) / 2 frames either way.

    Args:
        links: as `temporal_links` returns them, (B, T-1, V).
        kernel_size: K, odd.

    Returns:
        Neighbors (B, T V, K), of which frame t has the positions t V to t V + V - 1, the earliest frame first; those
        beyond the first and the last frame are absent.

    Raises:
        InputError: K is even or less than 1.
    """
    check_odd("kernel_size", kernel_size)
    (ahead, behind), half = links, kernel_size // 2
    batch, joints, frames = ahead.shape[0], ahead.shape[2], ahead.shape[1] + 1
    first = joints * torch.arange(frames, device=ahead.device).unsqueeze(1)  # position in each frame
    later = earlier = torch.arange(joints, device=ahead.device).expand(batch, frames, joints)
    indices = (first + later).unsqueeze(-1).repeat(1, 1, 1, kernel_size)
    absent = torch.ones(frames, 1, kernel_size, dtype=torch.bool, device=ahead.device)
    absent[..., half] = False
    for i in range(1, min(half, frames - 1) + 1):  # of the starts whose i-th frame is there
        later = ahead[:, i - 1 :].gather(2, later[:, :-1])
        earlier = behind[:, : frames - i].gather(2, earlier[:, 1:])
        indices[:, : frames - i, :, half + i] = first[i:] + later
        indices[:, i:, :, half - i] = first[: frames - i] + earlier
        absent[: frames - i, :, half + i] = absent[i:, :, half - i] = False
    absent = absent.expand(batch, frames, joints, kernel_size)
    return Neighbors(indices.flatten(1, 2), None, absent.flatten(1, 2))


class CurveConv(nn.Module):
    r"""Temporal convolution along curves: its kernel follows a joint to whichever is nearest in the next frame.

    With the curve c through joint v of frame t, which goes by `temporal_links` of the layer's input,

    .. math:: y_{t, v} = b + \sum_{i=-h}^{h} W_i \, x_{t+i, c_i}, \qquad
        c_0 = v, \quad c_{i+1} = n^+(t + i, c_i), \quad c_{-(i+1)} = n^-(t - i, c_{-i})

    without the frames that are not there. A plain temporal convolution, of as many parameters, reads the same joint in
    every frame.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K = 2 h + 1 frames.
        bias: learn b.

    Raises:
        InputError: a number is out of range, or the kernel is even.

    Reference:
        Lee et al., "Leveraging Spatio-Temporal Dependency for Skeleton-Based Action Recognition", arXiv 2212.04761. Its
        code is not public; distances on the input itself and a curve through every joint are assumptions.

    Example:
        >>> CurveConv(3, 8, 5)(torch.randn(2, 3, 16, 25)).shape
        torch.Size([2, 8, 16, 25])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        check_odd("kernel_size", kernel_size)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly, bounded by the root of the inputs, as a convolution of torch does."""
        for parameter in self.parameters():
            bound = (self.in_channels * self.kernel_size) ** -0.5
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, O, T, V).

        Raises:
            InputError: x has another shape, is not floating, or has NaN.
        """
        check_skeletons(x, self.in_channels)
        along = curves(temporal_links(x), self.kernel_size)
        y = aggregate.convolve(x.flatten(2).mT, along, self.weight.squeeze(3), self.bias)
        return y.mT.unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        """Show channels and kernel."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
