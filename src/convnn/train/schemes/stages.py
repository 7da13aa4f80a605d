"""The layers at the ends of a network's stages, of which a teacher may teach each."""

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models import ExternalNetwork, Network
from convnn.objectives.distillation.projectors import STAGES

CONTAINERS = ("stages", "blocks", "layers", "features")
"""Attributes under which networks, here and in torchvision and timm, keep their stages or blocks."""
NUMBERED = tuple(f"layer{stage}" for stage in STAGES)
"""Those of ResNets elsewhere."""


def layers_of_stages(network: Network, layers: str = "") -> dict[str, int]:
    """Return the layers at the ends of stages, with the number of the stage, 1 to 4, in their order.

    Args:
        network: the network.
        layers: names separated by commas, each perhaps with its stage, such as "blocks.5=3". Without one they are the
            last stages. Empty: the ends of four parts of its stages or blocks, or of as many as it has.

    Raises:
        InputError: there are more than four, a stage is none or comes twice, or the network's are not known.
    """
    names = layers.split(",") if layers else _usual(network)
    first = len(STAGES) - len(names) + 1
    found: dict[str, int] = {}
    for place, text in enumerate(names):
        name, equals, stage = text.partition("=")
        found[name.strip()] = first + place if not equals else int(stage) if stage.isdecimal() else 0
    if len(found) < len(names) or len(set(found.values())) < len(found) or not set(found.values()) <= set(STAGES):
        raise InputError(
            f"--distill_layers={layers} must be at most four layers, separated by commas, each perhaps with a stage of"
            " its own from 1 to 4, such as blocks.5=3"
        )
    return found


def _usual(network: Network) -> list[str]:
    inner = network.network if isinstance(network, ExternalNetwork) else network
    prefix = "network." if isinstance(network, ExternalNetwork) else ""
    if all(hasattr(inner, name) for name in NUMBERED):
        return [prefix + name for name in NUMBERED]
    for name in CONTAINERS:
        parts = getattr(inner, name, None)
        if isinstance(parts, nn.Sequential | nn.ModuleList) and len(parts):
            count = min(len(parts), len(STAGES))
            return [f"{prefix}{name}.{len(parts) * (place + 1) // count - 1}" for place in range(count)]
    raise InputError(f"--distill_layers must name layers of {type(inner).__name__}, whose stages are not known")


def channels_of(network: Network, example: Tensor) -> int:
    """Return the channels of a network's last feature."""
    if isinstance(network, ExternalNetwork):  # what is its head only its library knows
        linear = [module.in_features for module in network.modules() if isinstance(module, nn.Linear)]
        return linear[-1] if linear else 1
    features = network.forward_features(example)
    return int(features.shape[1 if features.dim() == 4 else -1])
