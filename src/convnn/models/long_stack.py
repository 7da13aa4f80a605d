"""Stacks of long convolutions on sequences, in the form of S4."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice, check_fraction
from convnn.models._network import Network
from convnn.models._parts import ChannelNorm
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn.generated.long import LongConv, SGConv

NORMS = ("layer", "batch")


class LongMix(nn.Module):
    r"""A layer, an activation and a pointwise map, which may be gated.

    .. math:: y = W \operatorname{dropout}(\operatorname{GELU}(f(x))) + b, \qquad
        y = y_1 \odot \sigma(y_2) \text{ where gated}

    Of `SGConv1d` and `LongConv1d`, :math:`f` is the convolution alone: W takes the place of their 1x1 convolution.

    Args:
        dim: number of channels.
        layer: function from input and output channels to the layer f, which has `heads` times as many outputs.
        heads: number of kernels for each channel.
        gated: halve the outputs of W by a gated linear unit.
        dropout: probability after the activation.
    """

    def __init__(self, dim: int, layer: LayerFactory, *, heads: int, gated: bool, dropout: float) -> None:
        super().__init__()
        made = layer(dim, heads * dim)
        self.layer = made.operator if isinstance(made, SGConv | LongConv) else made
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv1d(heads * dim, 2 * dim if gated else dim, kernel_size=1)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        y = self.mix(self.dropout(F.gelu(self.layer(x))))
        return F.glu(y, dim=1) if self.gated else y


class LongBlock(nn.Module):
    r"""A `LongMix` with a norm before it, or after the addition of its input.

    .. math:: y = x + g(\operatorname{norm}(x)), \qquad y = \operatorname{norm}(x + g(x)) \text{ without prenorm}
    """

    def __init__(self, mix: nn.Module, norm: nn.Module, dropout: float, *, prenorm: bool) -> None:
        super().__init__()
        self.mix = mix
        self.norm = norm
        self.dropout = nn.Dropout1d(dropout)
        self.prenorm = prenorm

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        if self.prenorm:
            return x + self.dropout(self.mix(self.norm(x)))
        return self.norm(x + self.dropout(self.mix(x)))


class LongStack(Network):
    """A stack of long convolutions as in S4 and safari (Fu, Epstein et al., arXiv 2302.06646), of any layer.

    Args:
        layer: function from input and output channels to a layer along one axis.
        in_channels: number of channels of the sequences.
        num_classes: number of classes, or of predicted numbers.
        width: factor on d_hidden.
        d_hidden: number of channels of the blocks.
        num_layers: number of blocks.
        dropout: probability in each block, of values and of whole channels.
        norm: "layer", over the channels of each sample, or "batch".
        prenorm: norm before each layer, instead of after the addition.
        final_norm: one more norm after the last block.
        heads: kernels for each channel.
        gated: end each layer with a gated linear unit.
        on_last: classify by the last sample instead of the mean.
        of_layers: settings of the layer that the network decides.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "sequences"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        width: float = 1.0,
        d_hidden: int = 256,
        num_layers: int = 6,
        dropout: float = 0.1,
        norm: str = "layer",
        prenorm: bool = False,
        final_norm: bool = False,
        heads: int = 2,
        gated: bool = True,
        on_last: bool = False,
        **of_layers: Any,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("num_layers", num_layers, 1)
        check_at_least("heads", heads, 1)
        check_fraction("dropout", dropout)
        check_choice("norm", norm, NORMS)
        dim = self.scaled(d_hidden)
        make_norm: Callable[[int], nn.Module] = ChannelNorm if norm == "layer" else nn.BatchNorm1d

        def make(inputs: int, outputs: int) -> nn.Module:
            return layer(inputs, outputs, heads=heads, **of_layers)

        mixes = [LongMix(dim, make, heads=heads, gated=gated, dropout=dropout) for _ in range(num_layers)]
        self.encoder = nn.Conv1d(in_channels, dim, kernel_size=1)
        self.blocks = nn.Sequential(*(LongBlock(mix, make_norm(dim), dropout, prenorm=prenorm) for mix in mixes))
        self.final_norm = make_norm(dim) if final_norm else nn.Identity()
        self.head = nn.Linear(dim, num_classes)
        self.on_last = on_last

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to features (B, F, T)."""
        return self.final_norm(self.blocks(self.encoder(x)))

    def forward_head(self, features: Tensor) -> Tensor:
        """Map features (B, F, T) to logits (B, num_classes)."""
        return self.head(features[..., -1] if self.on_last else features.mean(2))


class SGNet(LongStack):
    """The stack of SGConv (Li et al., arXiv 2210.09298), of which the paper publishes the layer only."""

    default_layer: ClassVar[str] = "SGConv"


class LongConvNet(LongStack):
    """The networks of simple long convolutions (Fu, Epstein et al., arXiv 2302.06646)."""

    default_layer: ClassVar[str] = "LongConv"


@register_model(SGNet)
def sgnet(
    layer: LayerFactory,
    *,
    norm: str = "batch",
    prenorm: bool = True,
    final_norm: bool = True,
    heads: int = 1,
    gated: bool = False,
    **settings: Any,
) -> SGNet:
    """SGConv stack for sequences, with 6 blocks of 256 channels."""
    return SGNet(layer, norm=norm, prenorm=prenorm, final_norm=final_norm, heads=heads, gated=gated, **settings)


@register_model(LongConvNet)
def longconvnet(layer: LayerFactory, **settings: Any) -> LongConvNet:
    """Long convolutions for sequences, with 6 blocks of 256 channels."""
    return LongConvNet(layer, **settings)


@register_model(LongConvNet)
def longconvnet_lra(
    layer: LayerFactory, *, d_hidden: int = 512, bidirectional: bool = False, lam: float = 0.003, **settings: Any
) -> LongConvNet:
    """Long convolutions for the Long Range Arena, causal, with 6 blocks of 512 channels."""
    return LongConvNet(layer, d_hidden=d_hidden, bidirectional=bidirectional, lam=lam, **settings)
