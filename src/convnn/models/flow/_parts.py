"""Parts of recurrent flow estimators: encoders of images and motion, and motion gathered from similar positions."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models._dense import ResidualBlock, conv_norm
from convnn.nn import LayerFactory

Norm = Callable[[int], nn.Module]


class Encoder(nn.Module):
    """A residual network that divides the sides of images by eight: (B, C, H, W) to (B, C_out, H / 8, W / 8).

    Args:
        in_channels: number of channels of the images.
        widths: channels of the three stages, two blocks each; the last two halve the map.
        out_channels: number of output channels.
        norm: creates the normalisation of a number of channels.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], out_channels: int, norm: Norm) -> None:
        super().__init__()
        conv = partial(conv_norm, bias=True, norm=norm)
        self.stem = nn.Sequential(*conv(in_channels, widths[0], 7, stride=2), nn.ReLU())
        stages = enumerate(pairwise([widths[0], *widths]))
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_block(before, width, 2 if i else 1, conv), _block(width, width, 1, conv))
                for i, (before, width) in stages
            )
        )
        self.output = nn.Conv2d(widths[-1], out_channels, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C_out, H / 8, W / 8)."""
        return self.output(self.stages(self.stem(images)))


def _block(in_channels: int, out_channels: int, stride: int, conv: Callable[..., list[nn.Module]]) -> ResidualBlock:
    """Create two 3x3 convolutions, each normalised and activated, with a shortcut."""
    first, second = conv(in_channels, out_channels, 3, stride=stride), conv(out_channels, out_channels, 3)
    shortcut = nn.Identity() if stride == 1 else nn.Sequential(*conv(in_channels, out_channels, stride=stride))
    return ResidualBlock(nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU()), shortcut)


class MotionEncoder(nn.Module):
    """What a flow and the similarities around it say about motion, with the flow itself as the last two channels.

    Args:
        similarities: number of channels of the similarities.
        out_channels: number of output channels.
        layer: creates the layers.
        correlation_widths: channels of the two layers after the similarities.
        flow_widths: channels of the 1x1 convolution and of the layer after the flow.
    """

    def __init__(
        self,
        similarities: int,
        out_channels: int,
        layer: LayerFactory,
        *,
        correlation_widths: tuple[int, int],
        flow_widths: tuple[int, int],
    ) -> None:
        super().__init__()
        wide, narrow = correlation_widths
        self.correlation = nn.Sequential(layer(similarities, wide), nn.GELU(), layer(wide, narrow))
        self.flow = nn.Sequential(nn.Conv2d(2, flow_widths[0], 1), layer(*flow_widths))
        self.output = layer(narrow + flow_widths[1], out_channels - 2)

    def forward(self, flow: Tensor, similarities: Tensor) -> Tensor:
        """Map (B, 2, H, W) and (B, S, H, W) to (B, C, H, W)."""
        both = torch.cat([self.correlation(similarities), self.flow(flow)], dim=1)
        return torch.cat([self.output(both), flow], dim=1)


class SimilarityAttention(nn.Module):
    r"""Shares of all positions in each, by the similarity of their context.

    .. math:: A = \operatorname{softmax}(q k^\top / \sqrt{D})

    With positions, the scores include the inner products of q with a learned vector for each distance along the rows,
    and for each along the columns.

    Args:
        channels: number of channels of the context.
        width: D, channels of queries and keys.
        positions: add the scores of distances. Their tables are there either way, as published.
        max_side: largest side of a map that the tables serve.

    Reference:
        GMA, arXiv 2104.02409.
    """

    def __init__(self, channels: int, width: int, *, positions: bool, max_side: int) -> None:
        super().__init__()
        self.positions, self.max_side = positions, max_side
        self.query_key = nn.Conv2d(channels, 2 * width, 1, bias=False)
        self.relative_height = nn.Embedding(2 * max_side - 1, width)
        self.relative_width = nn.Embedding(2 * max_side - 1, width)

    def forward(self, context: Tensor) -> Tensor:
        """Map (B, C, H, W) to shares (B, H * W, H * W), which sum to one along the last axis.

        Raises:
            InputError: a side of the map is larger than the tables of the positions.
        """
        query, key = self.query_key(context).chunk(2, dim=1)
        query = query / query.shape[1] ** 0.5
        scores = query.flatten(2).transpose(1, 2) @ key.flatten(2)
        return (scores + self._of_distances(query) if self.positions else scores).softmax(-1)

    def _of_distances(self, query: Tensor) -> Tensor:
        height, width = query.shape[2:]
        if max(height, width) > self.max_side:
            raise InputError(
                f"positions=True serves maps of sides up to {self.max_side}, which are eighths of the images; these"
                f" have {height}x{width}"
            )
        rows, columns = self._vectors(self.relative_height, height), self._vectors(self.relative_width, width)
        by_row = torch.einsum("bdxy,xud->bxyu", query, rows).unsqueeze(-1)
        by_column = torch.einsum("bdxy,yvd->bxyv", query, columns).unsqueeze(-2)
        return (by_row + by_column).flatten(3).flatten(1, 2)

    def _vectors(self, table: nn.Embedding, side: int) -> Tensor:
        """Return the vectors of all distances between two of so many positions, (side, side, D)."""
        positions = torch.arange(side, device=table.weight.device)
        return table(positions - positions.unsqueeze(1) + self.max_side - 1)


class MotionAggregation(nn.Module):
    r"""Motion with that of similar positions: :math:`m + \gamma A W m`, where :math:`\gamma` is 0 at first.

    Reference:
        GMA, arXiv 2104.02409.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, motion: Tensor, shares: Tensor) -> Tensor:
        """Map (B, C, H, W) with shares (B, H * W, H * W) to (B, C, H, W)."""
        gathered = self.value(motion).flatten(2) @ shares.transpose(1, 2)
        return motion + self.gamma * gathered.unflatten(2, motion.shape[2:])
