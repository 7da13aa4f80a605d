"""Convolutions and reductions on windows that slide along rows (arXiv 2310.05218)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.backends import cpu
from convnn.ops import sliding_conv, sliding_reduce
from golden.case import Case
from golden.entry import Entry


class Convolution(nn.Module):
    """The operator with its weight and bias as parameters."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            like = case.tensors.get(f"param.{name}")
            self.register_parameter(name, None if like is None else nn.Parameter(torch.empty_like(like)))
        self.geometry = {
            name: tuple(value) if isinstance(value, list) else value for name, value in dict(case.config).items()
        }
        self.backend = "cpu" if cpu.core is not None and self.geometry["stride"] == 1 else "auto"

    def forward(self, x: Tensor) -> Tensor:
        return sliding_conv(x, self.weight, self.bias, **self.geometry, backend=self.backend)


def _reductions(case: Case) -> Callable[[Tensor], dict[str, Tensor]]:
    windows, operators = case.config["windows"], case.config["operators"]

    def reduce(x: Tensor) -> dict[str, Tensor]:
        return {f"{op}.{window}": sliding_reduce(x, window, op) for op in operators for window in windows}

    return reduce


ENTRIES = {
    **{f"sliding_conv{axes}d": Entry(Convolution) for axes in (1, 2, 3)},
    "sliding_sum": Entry(_reductions),
}
