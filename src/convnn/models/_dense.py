"""What networks from images to maps share: the layers they are built of, checks of their input, residual blocks."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import LAYERS, LayerFactory, layer_factory, list_layers
from convnn.nn.registry import NamedLayer, check_layer_name


class DenseNetwork(nn.Module):
    """A network from images to maps, whose checkpoints are published under other names.

    Attributes:
        default_layer: name of the layer that the published network is built of.
        is_published: whether it is built of that layer.
        published_names: dotted parts of published names of parameters and buffers, with what they are called here; an
            empty name leaves the part out.
        head_is_ours: whether the published network has no head.
    """

    default_layer: ClassVar[str]
    head_is_ours: ClassVar[bool] = False
    published_names: ClassVar[Mapping[str, str]] = {}

    def __init__(self, layer: str | LayerFactory, *sizes: Any) -> None:
        super().__init__(*sizes)  # of a network that is registered by name
        self.is_published = self.is_own(layer)

    @classmethod
    def is_own(cls, layer: str | LayerFactory) -> bool:
        """Return whether a layer is the one that the published network is built of."""
        return (layer.name if isinstance(layer, NamedLayer) else layer) == cls.default_layer

    @classmethod
    def our_name(cls, published: str) -> str:
        """Return our name of a published parameter or buffer; it is empty if there is none here.

        The longest parts are replaced first, from left to right; parts that are not listed stay.

        Example:
            >>> from convnn.models.segmentation import MKUNet
            >>> MKUNet.our_name("encoder1.0.pconv1.0.weight")
            'encoder.0.0.expand.conv.weight'
        """
        parts, ours = published.split("."), []
        while parts:
            found = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in cls.published_names), 0)
            ours.append(cls.published_names[".".join(parts[:found])] if found else parts[0])
            parts = parts[found or 1 :]
        return ".".join(filter(None, ours))

    def arranged(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return published tensors under our names without those that have no place here."""
        return {name: tensor for name, tensor in named.items() if name}


def map_layers(layer: str | LayerFactory, own: str | None = None) -> LayerFactory:
    """Return the function by which a network creates its layers from channel numbers and the settings that it decides.

    A layer given by its name takes those of the settings that it reads, and so does the network's `own` layer. Another
    function from input and output channels to a layer, such as `layer_factory` returns with settings of its own, gets
    the channels alone.

    Raises:
        InputError: the layer is unknown, or reads tokens, or is neither name nor function.
    """
    if isinstance(layer, NamedLayer) and layer.name == own:
        return layer
    if callable(layer):
        return partial(_of_channels, layer)
    name = layer_name(layer)
    if LAYERS[name].reads != "maps":
        raise InputError(f"layer={name!r} reads tokens; choose one that reads maps: {', '.join(list_layers('maps'))}")
    return layer_factory(name)


def layer_name(layer: object) -> str:
    """Return a layer that is no function, and must be the name of one.

    Raises:
        InputError: it is unknown, or no name.
    """
    if not isinstance(layer, str):
        raise InputError(f"layer={layer!r} must be the name of a layer, or a function from two channel numbers to one")
    check_layer_name("layer", layer)
    return layer


def _of_channels(layer: LayerFactory, in_channels: int, out_channels: int, **_: Any) -> nn.Module:
    return layer(in_channels, out_channels)


def check_images(images: Tensor, channels: int, *, least: int) -> None:
    """Refuse what is no batch of images of at least so many pixels along both sides.

    Raises:
        InputError: the images have another shape, or another data type, or are too small.
    """
    if images.dim() != 4 or images.shape[1] != channels:
        raise InputError(f"images of shape {tuple(images.shape)} must be (B, {channels}, H, W)")
    if not images.is_floating_point():
        raise InputError(f"images of {images.dtype} must be floating; pass images.float(), scaled as in training")
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise InputError(f"images of {height}x{width} pixels must have at least {least} along each side; enlarge them")


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Return a map (B, C, H, W) at the size of another, interpolated bilinearly."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    r"""Convolutions with a shortcut around them.

    .. math:: y = \sigma(x' + f(x))

    Args:
        residual: f.
        shortcut: from x to x'; the identity where neither channels nor size change.
        activation: whether :math:`\sigma` is ReLU; otherwise it is the identity.
    """

    def __init__(self, residual: nn.Module, shortcut: nn.Module, *, activation: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = shortcut
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        return self.activation(self.shortcut(x) + self.residual(x))


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    stride: int = 1,
    bias: bool = False,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> list[nn.Module]:
    """Create a convolution that keeps the size of the map, or divides it by the stride, and normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias)
    return [conv, norm(out_channels)]
