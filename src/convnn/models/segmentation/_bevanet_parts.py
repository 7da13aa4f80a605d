"""Parts of BEVANet: blocks, the joining of branches, pyramid pooling, heads."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models._dense import ResidualBlock, conv_norm, resized
from convnn.nn import ConvMaker, LayerFactory
from convnn.nn.kernels.convolution import reset_by_fan_out

IMAGES = ConvMaker(2)


def activated_conv(in_channels: int, out_channels: int, kernel_size: int = 1, *, dilation: int = 1) -> nn.Sequential:
    """Create batch normalisation, ReLU, and a convolution without bias that keeps the size of the map."""
    conv = IMAGES.conv(in_channels, out_channels, kernel_size, dilation=dilation, bias=False)
    return nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(), conv)


def make_head(in_channels: int, hidden: int, num_classes: int) -> nn.Sequential:
    """Create the head: batch normalisation, ReLU, a 3x3 convolution, the same again with a 1x1 one."""
    first = activated_conv(in_channels, hidden, 3)
    return nn.Sequential(*first, nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, num_classes, 1))


def basic_block(in_channels: int, out_channels: int, stride: int = 1, *, activation: bool = True) -> ResidualBlock:
    """Create the block of ResNet with two 3x3 convolutions."""
    residual = nn.Sequential(
        *conv_norm(in_channels, out_channels, 3, stride=stride), nn.ReLU(), *conv_norm(out_channels, out_channels, 3)
    )
    return ResidualBlock(residual, _shortcut(in_channels, out_channels, stride), activation=activation)


def bottleneck(in_channels: int, inner: int, stride: int = 1) -> ResidualBlock:
    """Create the block of ResNet with a 3x3 convolution between 1x1 ones, to twice the inner channels."""
    residual = nn.Sequential(
        *conv_norm(in_channels, inner),
        nn.ReLU(),
        *conv_norm(inner, inner, 3, stride=stride),
        nn.ReLU(),
        *conv_norm(inner, 2 * inner),
    )
    return ResidualBlock(residual, _shortcut(in_channels, 2 * inner, stride), activation=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(*conv_norm(in_channels, out_channels, stride=stride))


def chain(in_channels: int, out_channels: int, depth: int, stride: int = 1) -> nn.Sequential:
    """Create basic blocks in a row; the last of several has no activation at its end."""
    blocks = [basic_block(in_channels, out_channels, stride)]
    blocks += [basic_block(out_channels, out_channels, activation=i < depth - 1) for i in range(1, depth)]
    return nn.Sequential(*blocks)


class EVABlock(nn.Module):
    r"""A layer f and an MLP m, each after batch normalisation, scaled by channel, and with a shortcut.

    .. math:: x' = x + s_1 \odot f(\operatorname{norm} x), \qquad y = x' + s_2 \odot m(\operatorname{norm} x')

    Args:
        channels: number of channels.
        layer: creates f.
        kernel_size: side of its kernel, if it reads that setting.
        mlp_ratio: how many times more channels the MLP has inside, where it has a 3x3 kernel for each.

    Raises:
        InputError: the MLP has no channel inside.
    """

    def __init__(self, channels: int, layer: LayerFactory, *, kernel_size: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        if hidden < 1:
            raise InputError(f"mlp_ratio={mlp_ratio} leaves no channel of {channels}; 4 is published")
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.layer = layer(channels, channels, kernel_size=kernel_size)
        self.mlp = nn.Sequential(
            IMAGES.pointwise(channels, hidden),
            IMAGES.depthwise(hidden, 3),
            nn.GELU(),
            IMAGES.pointwise(hidden, channels),
        )
        reset_by_fan_out(self.mlp[0], self.mlp[1], self.mlp[3])
        self.scale1, self.scale2 = (nn.Parameter(torch.full((channels,), 1e-2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.scale1.view(-1, 1, 1) * self.layer(self.norm1(x))
        return x + self.scale2.view(-1, 1, 1) * self.mlp(self.norm2(x))


class PixelAttentionFusion(nn.Module):
    r"""Two maps in the share by which each position of one resembles the other, which is coarser.

    .. math:: y = (1 - a) \odot d + a \odot s, \qquad a = \sigma(\langle W_d d, W_s s \rangle)

    with 1x1 convolutions and batch normalisation in W, and s enlarged to the size of d.

    Reference:
        PIDNet, arXiv 2206.02066, its PagFM.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.of_detail = nn.Sequential(*conv_norm(channels, inner))
        self.of_semantic = nn.Sequential(*conv_norm(channels, inner))

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Map (B, C, H, W) and a coarser (B, C, H', W') to (B, C, H, W)."""
        query = resized(self.of_semantic(semantic), detail)
        share = (query * self.of_detail(detail)).sum(1, keepdim=True).sigmoid()
        return (1 - share) * detail + share * resized(semantic, detail)


class BoundaryFusion(nn.Module):
    r"""Detail near boundaries and meaning elsewhere.

    .. math:: y = f(e \odot p + (1 - e) \odot i + p + i), \qquad e = \sigma(b)

    with p and i after batch normalisation, ReLU and a 3x3 convolution, as in f.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_detail = activated_conv(channels, channels, 3)
        self.of_semantic = activated_conv(channels, channels, 3)
        self.output = activated_conv(channels, channels, 3)

    def forward(self, detail: Tensor, semantic: Tensor, boundary: Tensor) -> Tensor:
        """Map three (B, C, H, W) to one."""
        detail, semantic, edge = self.of_detail(detail), self.of_semantic(semantic), boundary.sigmoid()
        return self.output(edge * detail + (1 - edge) * semantic + detail + semantic)


class SeparableGate(nn.Module):
    """A map times what a separable kernel of 35 x 35 makes of it: two rows, two columns, half of them dilated, 1x1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = IMAGES.depthwise(channels, (1, 5))
        self.tall = IMAGES.depthwise(channels, (5, 1))
        self.dilated_wide = IMAGES.depthwise(channels, (1, 11), dilation=3)
        self.dilated_tall = IMAGES.depthwise(channels, (11, 1), dilation=3)
        self.mix = IMAGES.pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x * self.mix(self.dilated_tall(self.dilated_wide(self.tall(self.wide(x)))))


class PyramidPooling(nn.Module):
    """Context of several extents: means over ever larger windows, mixed from fine to coarse, and a large kernel.

    Args:
        in_channels: number of input channels.
        inner: number of channels of each extent.
        out_channels: number of output channels.

    Reference:
        BEVANet, arXiv 2508.07300: DLKPPM, after the DAPPM of DDRNet, arXiv 2101.06085.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int) -> None:
        super().__init__()
        pools = (nn.AvgPool2d(5, 2, 2), nn.AvgPool2d(9, 4, 4), nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1))
        self.scales = nn.ModuleList(
            nn.Sequential(*pool, *activated_conv(in_channels, inner)) for pool in ([], *([pool] for pool in pools))
        )
        self.mix = nn.ModuleList(activated_conv(inner, inner, 3, dilation=2 if i < 2 else 1) for i in range(5))
        self.norm = nn.BatchNorm2d(inner)
        self.attention = nn.Sequential(
            IMAGES.pointwise(inner, inner), nn.GELU(), SeparableGate(inner), IMAGES.pointwise(inner, inner)
        )
        self.scale = nn.Parameter(torch.full((inner,), 1e-2))
        self.output = activated_conv((1 + len(self.mix)) * inner, out_channels)
        self.shortcut = activated_conv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        local, *coarse = (scale(x) for scale in self.scales)
        two, four, quarters, mean = (resized(one, x) for one in coarse)
        normed = self.norm(local)
        attended = self.scale.view(-1, 1, 1) * (normed + self.attention(normed))
        near = self.mix[0](two + local)
        far = self.mix[1](four + near)
        large = self.mix[2](local + attended + far)
        wide = self.mix[3](quarters + large)
        whole = self.mix[4](mean + wide)
        return self.output(torch.cat([local, near, far, large, wide, whole], dim=1)) + self.shortcut(x)
