"""SMPConv on large images: RepLKNet, whose large kernels are interpolated from points that move."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._parts import IMAGES
from convnn.models.hierarchical._skeleton import Rule, draw_normal
from convnn.models.hierarchical.replknet import RepLKNet
from convnn.nn import LayerFactory, PointsAndSmall

KERNELS = (31, 29, 27, 13)
PLACES, GRID = ".large.kernel.places", ".large.kernel.kernel_coord"


class SMPConvNet(RepLKNet):
    """The network of SMPConv for ImageNet (Kim and Park, arXiv 2304.02330): `RepLKNet` with `PointsAndSmall` as f.

    All kernels of a layer share their points. Arguments and errors are those of `RepLKNet`.
    """

    default_layer: ClassVar[str] = "SMPConv"
    published_names: ClassVar[tuple[Rule, ...]] = (
        *RepLKNet.published_names,
        (r"\.large_kernel\.smp\.norm\.", ".mixer.norm."),
        (r"\.large_kernel\.smp\.conv\.weight_coord$", f".mixer{PLACES}"),
        (r"\.large_kernel\.smp\.conv\.", ".mixer.large.kernel."),
        (r"\.mixer\.branches\.1\.", ".mixer.small."),
    )

    @staticmethod
    def operator(channels: int, *, kernel_size: int, **of_layer: Any) -> nn.Module:
        """Create the published f: a large kernel of points and a small kernel, each normalised."""
        read = ("n_points", "radius", "coord_std", "use_fft")
        return PointsAndSmall(IMAGES, channels, kernel_size, **{name: of_layer[name] for name in read})

    def arranged(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn published places, which are to the right and upwards, to rows and columns; leave out published grids."""
        named = {name: value for name, value in named.items() if not name.endswith(GRID)}
        return {name: _turned(value) if name.endswith(PLACES) else value for name, value in named.items()}

    def _initialise_part(self, module: nn.Module) -> None:
        draw_normal(module)


def _turned(places: Tensor) -> Tensor:
    right, up = places.unbind(-1)
    return torch.stack([-up, right], dim=-1)


@register_model(SMPConvNet, n_points=None, coord_std=0.2)
def smpconv_t(layer: LayerFactory, *, drop_path: float = 0.1, **settings: Any) -> SMPConvNet:
    """SMPConv's network for large images with 26.7 million weights for 1000 classes."""
    return SMPConvNet((2, 2, 8, 2), (96, 192, 384, 768), KERNELS, 1, layer, drop_path=drop_path, **settings)


@register_model(SMPConvNet, n_points=None, coord_std=0.2)
def smpconv_b(layer: LayerFactory, *, drop_path: float = 0.5, **settings: Any) -> SMPConvNet:
    """SMPConv's network for large images with 79.5 million weights for 1000 classes."""
    return SMPConvNet((2, 2, 20, 2), (128, 256, 512, 1024), KERNELS, 1, layer, drop_path=drop_path, **settings)
