"""What a module says about the training of its parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Training:
    """How a parameter is trained, where it is not like all others.

    A module says so by an attribute `trained`, which maps names of its parameters, or of lists of them, to this.

    Attributes:
        rate: which learning rate of its own it has: "mask", "radius" or "kernel"; None is that of all.
        decays: whether weight decay draws it towards 0.
        factor: what that learning rate is multiplied by, at least 0.
    """

    rate: str | None = None
    decays: bool = True
    factor: float = 1.0


USUAL = Training()


def trainings(network: nn.Module) -> Iterator[tuple[nn.Parameter, Training]]:
    """Yield every parameter of a network once, with how it is trained."""
    special: dict[nn.Parameter, Training] = {}
    for module in network.modules():
        for name, training in getattr(module, "trained", {}).items():
            of_module = module.named_parameters()
            special |= {parameter: training for own, parameter in of_module if own.partition(".")[0] == name}
    for parameter in network.parameters():
        yield parameter, special.get(parameter, USUAL)
