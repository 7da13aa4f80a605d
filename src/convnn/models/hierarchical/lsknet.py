"""LSKNet: gates from kernels that each position selects."""

from typing import Any, ClassVar

from torch import nn

from convnn.models._registry import register_model
from convnn.models.hierarchical._gated import MLP_RATIOS, NARROW, WIDE, GatedNetwork, names_of_gates
from convnn.models.hierarchical._skeleton import Rule
from convnn.nn import LayerFactory, LSK2d


class LSKNet(GatedNetwork):
    """Large selective kernel network (Li et al., arXiv 2303.09030): `GatedNetwork` with LSK, or any other layer.

    The published network has no head: detectors read the maps of `forward_stages`. The linear one here is that of VAN.
    """

    default_layer: ClassVar[str] = "LSK"
    head_is_ours: ClassVar[bool] = True
    published_names: ClassVar[tuple[Rule, ...]] = names_of_gates(
        (r"\.conv1\.", ".near."),
        (r"\.conv2\.", ".far."),
        (r"\.conv_squeeze\.", ".select.squeeze."),
        (r"\.conv\.", ".mix."),
    )

    @staticmethod
    def _make_operator(channels: int, **settings: Any) -> nn.Module:
        return LSK2d(channels, channels, **settings)


@register_model(LSKNet)
def lsknet_t(layer: LayerFactory, *, dropout: float = 0.1, **settings: Any) -> LSKNet:
    """LSKNet with 4.2 million weights for 1000 classes."""
    return LSKNet((3, 3, 5, 2), NARROW, MLP_RATIOS, layer, dropout=dropout, **settings)


@register_model(LSKNet)
def lsknet_s(layer: LayerFactory, *, dropout: float = 0.1, **settings: Any) -> LSKNet:
    """LSKNet with 14.4 million weights for 1000 classes."""
    return LSKNet((2, 2, 4, 2), WIDE, MLP_RATIOS, layer, dropout=dropout, **settings)
