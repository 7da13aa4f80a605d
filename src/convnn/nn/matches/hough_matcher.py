"""Hough matching of two maps of features: similarities at all pairs of scales, votes, and the best of both sides."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn.matches.hough import CHM4d, CHM6d
from convnn.ops.matches import match_space, mutual_filter, resize_matches


class HoughMatcher(nn.Module):
    r"""Match features by votes: (B, C, H, W) of a source and a target to confidences of all pairs of cells.

    The features are resized to each scale and projected; their cosines at all pairs of scales are convolved by `CHM6d`,
    a sigmoid and the largest over the scales follow; resized to twice the sides, they are convolved by `CHM4d`; a
    softplus and `mutual_filter` end it. Nothing is normalised by learned numbers.

    Args:
        channels: C of the features, at least 4.
        sharing: who shares a weight of the convolutions, see `convnn.nn.matches.pair_classes`.
        scales: areas at which features are compared.
        kernel_size: side of the kernels, odd.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Min and Cho, "Convolutional Hough Matching Networks", arXiv 2103.16831. There C = 1024, of the third stage of a
        ResNet-101, on maps of 15 x 15; 7,078,165 parameters, of which 277 vote.
    """

    def __init__(
        self, channels: int, sharing: str = "psi", *, scales: Sequence[float] = (0.5, 1, 2), kernel_size: int = 5
    ) -> None:
        super().__init__()
        check_at_least("channels", channels, 4)
        if not scales:
            raise InputError("scales=() must have at least one area, such as 1")
        self.scales = tuple(scales)
        conv = partial(nn.Conv2d, channels, channels // 4, 3, padding=1, bias=False)
        self.project = nn.ModuleList(conv() for _ in scales)
        self.over_scales = CHM6d(kernel_size, sharing)
        self.over_cells = CHM4d(kernel_size, sharing)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Map features (B, C, H, W) and (B, C, H', W') to confidences (B, 4 H W, 4 H' W'), at least 0.

        Raises:
            InputError: shapes do not agree.
        """
        similar = match_space(source, target, self.scales, list(self.project))
        best = self.over_scales(similar).sigmoid().amax((1, 2, 3))
        voted = self.over_cells(resize_matches(best, [2 * side for side in best.shape[1:]]).unsqueeze(1))
        return mutual_filter(F.softplus(voted).flatten(4).flatten(2, 3).squeeze(1))
