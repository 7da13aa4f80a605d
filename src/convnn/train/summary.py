"""Size and cost of a network."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convnn.nn._modes import evaluating


@dataclass(frozen=True)
class NetworkSummary:
    """Parameters, and floating point operations of one image forward (a multiply-add counts as two)."""

    parameters: int
    trainable: int
    flops: int

    @property
    def gflops(self) -> float:
        """Billions of operations."""
        return self.flops / 1e9


def summarize(network: nn.Module, shape: tuple[int, ...]) -> NetworkSummary:
    """Count parameters, and the matrix products and convolutions of one input: an image (C, H, W), or tokens (T, D).

    The pass runs in evaluation mode on zeros: no statistics and no random numbers are touched.
    """
    parameters = list(network.parameters())
    one = torch.zeros(1, *shape, device=parameters[0].device)
    with torch.no_grad(), evaluating(network), FlopCounterMode(display=False) as counter:
        network(one)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return NetworkSummary(sum(p.numel() for p in parameters), trainable, counter.get_total_flops())


def parameter_table(network: nn.Module) -> str:
    """Parameters of every module that holds some itself, one line each, with shapes."""
    lines = []
    for name, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if own:
            shapes = ", ".join(f"{key} {tuple(p.shape)}" for key, p in own.items())
            lines.append(f"{name or '.':<40} {sum(p.numel() for p in own.values()):>13,}  {shapes}")
    return "\n".join(lines)
