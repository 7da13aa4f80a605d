"""VAN: gates from stacks of kernels."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._gated import MLP_RATIOS, NARROW, WIDE, GatedNetwork, names_of_gates
from convnn.models.hierarchical._skeleton import Rule
from convnn.nn import LayerFactory, LKA2d


class VAN(GatedNetwork):
    """Visual attention network (Guo et al., arXiv 2202.09741): `GatedNetwork` with LKA, or any other layer."""

    default_layer: ClassVar[str] = "LKA"
    published_names: ClassVar[tuple[Rule, ...]] = names_of_gates((r"\.conv1\.", ".mix."))

    @staticmethod
    def _make_operator(channels: int, **settings: Any) -> nn.Module:
        return LKA2d(channels, channels, **settings)


@register_model(VAN)
def van_b0(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 4.1 million weights for 1000 classes."""
    return VAN((3, 3, 5, 2), NARROW, MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b1(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 13.9 million weights for 1000 classes."""
    return VAN((2, 2, 4, 2), WIDE, MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b2(layer: LayerFactory, **settings: Any) -> VAN:
    """VAN with 26.6 million weights for 1000 classes."""
    return VAN((3, 3, 12, 3), WIDE, MLP_RATIOS, layer, **settings)


@register_model(VAN)
def van_b3(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 44.8 million weights for 1000 classes."""
    return VAN((3, 5, 27, 3), WIDE, MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b4(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 60.3 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((3, 6, 40, 3), WIDE, MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b5(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 90.0 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((3, 3, 24, 3), (96, 192, 480, 768), MLP_RATIOS, layer, drop_path=drop_path, **settings)


@register_model(VAN)
def van_b6(layer: LayerFactory, *, drop_path: float = 0.2, **settings: Any) -> VAN:
    """VAN with 199.8 million weights for 1000 classes; its stochastic depth is that of van_b3."""
    return VAN((6, 6, 90, 6), (96, 192, 384, 768), MLP_RATIOS, layer, drop_path=drop_path, **settings)
