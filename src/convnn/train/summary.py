"""Size and cost of a network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convnn.data import example_of
from convnn.models import OwnLoss
from convnn.nn._modes import evaluating
from convnn.train.randomness import seeded


@dataclass(frozen=True)
class NetworkSummary:
    """Parameters, and floating-point operations of a forward pass of one input (a multiply-add counts as two)."""

    parameters: int
    trainable: int
    flops: int

    @property
    def gflops(self) -> float:
        """Billions of operations."""
        return self.flops / 1e9


def example_for(
    network: nn.Module,
    shape: tuple[int, ...],
    kind: str = "image",
    count: int = 1,
    device: torch.device | str = "cpu",
) -> Any:
    """Return inputs of a network for data of a shape: its own, if it has a loss of its own, or those of the kind."""
    if isinstance(network, OwnLoss):
        return network.example(shape, count, device)
    return example_of(shape, kind, count, device)


def summarize(network: nn.Module, shape: tuple[int, ...], kind: str = "image") -> NetworkSummary:
    """Count the parameters, and the operations of one input of a shape and kind, as in `LabelledData`.

    Operations are those of matrix products and convolutions. The pass runs in evaluation mode on zeros and changes no
    statistics and no random state.
    """
    parameters = list(network.parameters())
    x = example_for(network, shape, kind, device=parameters[0].device)
    with torch.no_grad(), evaluating(network), seeded("summary"), FlopCounterMode(display=False) as counter:
        network(x)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return NetworkSummary(sum(p.numel() for p in parameters), trainable, counter.get_total_flops())


def parameter_table(network: nn.Module) -> str:
    """List every module that holds parameters itself, one line each, with their number and shapes."""
    lines = []
    for name, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if own:
            shapes = ", ".join(f"{key} {tuple(p.shape)}" for key, p in own.items())
            lines.append(f"{name or '.':<40} {sum(p.numel() for p in own.values()):>13,}  {shapes}")
    return "\n".join(lines)
