"""A network whose maps are mixtures of Gaussians."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn.mixtures import MixtureConv, MixtureNorm, MixtureReLU
from convnn.ops.mixtures import Mixture
from convnn.ops.mixtures.mixture import PACKED

BIASES = ("minus_softplus", "plain", "none")
"""What is added to the constants of a block."""
SHARP = 20.0
"""How sharp the softplus of the biases bends."""


class MixtureBlock(nn.Module):
    """Convolution, bias, ReLU and normalisation of mixtures.

    Args:
        conv: the convolution, whose result is divided by its number of input channels.
        in_channels: this number.
        channels: its output channels.
        bias: "minus_softplus": the bias never raises the field; "plain", or "none".
        kept: number of components that the ReLU keeps; None: all.
        norm: over what the scale is normalised, "batch" or "sample".
    """

    def __init__(
        self, conv: nn.Module, in_channels: int, channels: int, bias: str, kept: int | None, norm: str
    ) -> None:
        super().__init__()
        check_choice("bias", bias, BIASES)
        self.conv, self.relu, self.norm = conv, MixtureReLU(kept), MixtureNorm(channels, norm)
        self.in_channels = in_channels
        self.has_softplus = bias == "minus_softplus"
        self.bias = None if bias == "none" else nn.Parameter(torch.zeros(channels))

    def forward(self, x: Mixture) -> Mixture:
        """Map mixtures to such of other channels and components."""
        y: Mixture = self.conv(x)
        constant = y.constant / self.in_channels
        if self.bias is not None:
            constant = constant + (-F.softplus(self.bias, beta=SHARP) if self.has_softplus else self.bias)
        y = Mixture(y.weight / self.in_channels, y.mean, y.cov, constant)
        return self.norm(self.relu(y))


class MixtureNet(nn.Module):
    r"""Classify mixtures of Gaussians: convolutions, fitted ReLUs, and the integral of each class's field.

    The scale of each input is normalised; then come blocks of `convnn.nn.mixtures.MixtureConv`, a bias,
    `MixtureReLU` and `MixtureNorm`; the sum of the weights of a channel of the last one, after batch normalisation, is
    the logit of a class. The order of components and the scale of space change no logit. The middle of an input does,
    because every channel is scaled around the origin.

    Args:
        in_channels: number of channels of the input.
        num_classes: number of classes, the channels of the last block.
        dims: 2 or 3.
        widths: channels of the other blocks.
        radii: the radius of the kernels of every block; one number is for all.
        components: the number of components after each convolution; None keeps all. One more than widths.
        kept: the number of components after each ReLU; None: as many as before it.
        kernel_components: components of a kernel.
        bias: "minus_softplus", "plain" or "none".
        norm: over what the scale is normalised after a block, "batch" or "sample".
        layer: function like `MixtureConv` that makes the convolutions.

    Raises:
        InputError: an argument is out of range; in forward: the input has other channels or dimensions, or a
            covariance is not positive definite.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153, whose first normalisation, from
        values at random points, is left out.

    Example:
        >>> from convnn.ops.mixtures import fit_images
        >>> network = MixtureNet(1, 10, widths=(8,), components=(8, 4))
        >>> network(fit_images(torch.rand(4, 1, 8, 8), 8)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        dims: int = 2,
        widths: Sequence[int] = (8, 16),
        radii: float | Sequence[float] = 1.0,
        components: Sequence[int | None] = (32, 16, 8),
        kept: Sequence[int | None] | None = None,
        kernel_components: int = 5,
        bias: str = "minus_softplus",
        norm: str = "batch",
        layer: Callable[..., nn.Module] = MixtureConv,
    ) -> None:
        super().__init__()
        check_at_least("num_classes", num_classes, 1)
        channels = [in_channels, *widths, num_classes]
        count = len(channels) - 1
        radii = [radii] * count if isinstance(radii, int | float) else radii
        kept = [None] * count if kept is None else kept
        for name, values in (("radii", radii), ("components", components), ("kept", kept)):
            if len(values) != count:
                raise InputError(
                    f"{name}={tuple(values)} must have {count} entries, one for each of widths and one more"
                )
        self.norm = MixtureNorm(in_channels, "sample")
        self.blocks = nn.ModuleList()
        for i in range(count):
            conv = layer(
                channels[i],
                channels[i + 1],
                dims=dims,
                kernel_components=kernel_components,
                components=components[i],
                radius=radii[i],
            )
            self.blocks.append(MixtureBlock(conv, channels[i], channels[i + 1], bias, kept[i], norm))
        self.head = nn.BatchNorm1d(num_classes)

    def forward(self, x: Mixture | Tensor) -> Tensor:
        """Map mixtures (B, C, N), or packed ones (B, C, N, 1 + D + D^2), to logits (B, num_classes)."""
        return self.head(self.integrals(x))

    def integrals(self, x: Mixture | Tensor) -> Tensor:
        """Return the integral of the field of each class, (B, num_classes), which the head normalises."""
        y = self.norm(Mixture.from_packed(x) if isinstance(x, Tensor) else x)
        for block in self.blocks:
            y = block(y)
        return y.weight.sum(2)


class MixtureClassifier(Network):
    r"""A `MixtureNet` for the Trainer: each convolution but the last has twice the channels of the one before.

    Data are packed mixtures (B, C, N, P) with P = 7 numbers of a component in the plane, or 13 in space.

    Args:
        layer: function like `MixtureConv`.
        in_channels: C.
        num_classes: number of classes.
        width: factor on d_hidden.
        dims: 2 or 3, which the data say.
        d_hidden: channels after the first convolution.
        num_layers: number of convolutions, at least 2.
        components: number of Gaussians after the first convolution, at least 2 to the power of num_layers; each further
            one has half as many.
        kernel_components: number of Gaussians of a kernel.
        kernel_radius: where in a kernel they begin, as a multiple of the scale of the normalised data.
        mixture_norm: over what the scale is normalised after a convolution, "sample" or, as published, "batch".

    Raises:
        InputError: an argument is out of range; in forward: see `MixtureNet`.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.
    """

    reads: ClassVar[str] = "mixtures"
    default_layer: ClassVar[str] = "MixtureConv"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        width: float = 1.0,
        dims: int = 2,
        d_hidden: int = 8,
        num_layers: int = 2,
        components: int = 8,
        kernel_components: int = 5,
        kernel_radius: float = 2.5,
        mixture_norm: str = "sample",
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("num_layers", num_layers, 2)
        check_at_least("components", components, 2**num_layers)
        self.network = MixtureNet(
            in_channels,
            num_classes,
            dims=dims,
            widths=[self.scaled(d_hidden) << i for i in range(num_layers - 1)],
            radii=kernel_radius,
            components=[components >> i for i in range(num_layers)],
            kernel_components=kernel_components,
            norm=mixture_norm,
            layer=layer,
        )
        self.head, self.network.head = self.network.head, nn.Identity()  # type: ignore[assignment]

    @classmethod
    def sizes(cls, shape: tuple[int, ...]) -> dict[str, int]:
        """Return the number of dimensions of data (C, N, P), or 0 where P is that of none."""
        return {"dims": PACKED.get(shape[2], 0)}

    def forward(self, x: Tensor) -> Tensor:
        """Map packed mixtures (B, C, N, P) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Map packed mixtures to the integrals (B, num_classes) of the fields of the classes."""
        return self.network.integrals(x)


@register_model(MixtureClassifier)
def gmcn(layer: LayerFactory, **settings: Any) -> MixtureClassifier:
    """Gaussian mixture convolution network, a classifier of mixtures."""
    return MixtureClassifier(layer, **settings)
