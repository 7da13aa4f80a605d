"""Initialisation of weights."""

import math

from torch import Tensor, nn


def reset_as_conv(weight: Tensor, bias: Tensor | None) -> None:
    """Draw weight (C_out, C_in, ...) and bias as `torch.nn.Conv2d` does: uniform, bounded by the fan-in."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(bias, -bound, bound)
