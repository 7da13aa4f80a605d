"""The features of a network before its last linear layer, which learns labels from them without changing them."""

from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models import Network


class Probe:
    """Cuts the gradient before the last linear layer of a network, and keeps the features that it reads.

    The layer then learns labels as the usual linear probe does, while the network learns something else: its accuracy
    is that of the probe at any moment.

    Args:
        network: a network that ends in an `nn.Linear` with an output for each class.

    Attributes:
        width: number of features.
        features: (B, width) of the last batch, with their gradient.

    Raises:
        InputError: the network has no such layer.
    """

    def __init__(self, network: Network) -> None:
        linear = [part for part in network.modules() if isinstance(part, nn.Linear)]
        if not linear or linear[-1].out_features != network.num_classes:
            raise InputError(
                f"{type(network).__name__} must end in a linear layer with an output for each of its"
                f" {network.num_classes} classes, to be trained without labels"
            )
        self.width = linear[-1].in_features
        self.features: Tensor | None = None
        linear[-1].register_forward_pre_hook(self._cut)

    def _cut(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        (self.features,) = inputs
        return (self.features.detach(),)
