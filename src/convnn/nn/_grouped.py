"""Linear maps whose channels fall into groups that do not mix."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.words import counted


def check_groups(groups: int, *channels: int) -> None:
    """Refuse groups that do not divide every number of channels.

    Raises:
        InputError: a number of channels is not divisible; the message names it and the groups.
    """
    check_at_least("groups", groups, 1)
    if any(number % groups for number in channels):
        *others, last = channels
        numbers = "".join(f"{number} and " for number in others) + counted(last, "channel")
        raise InputError(f"groups={groups} must divide the {numbers} that the layer reads and makes")


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map rows (..., C) to (..., C_out) by a weight (C_out, C / groups), each group of channels separately."""
    groups = x.shape[-1] // weight.shape[1]
    if groups == 1:
        return F.linear(x, weight, bias)
    grouped = torch.einsum("...gi,goi->...go", x.unflatten(-1, (groups, -1)), weight.unflatten(0, (groups, -1)))
    return grouped.flatten(-2) if bias is None else grouped.flatten(-2) + bias


class GroupedLinear(nn.Linear):
    """`torch.nn.Linear` with groups, as `torch.nn.Conv1d` has them: weight (out_features, in_features / groups)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_groups(groups, in_features, out_features)
        super().__init__(in_features // groups, out_features, bias=bias, device=device, dtype=dtype)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return grouped_linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return features and groups."""
        features = f"in_features={self.in_features * self.groups}, out_features={self.out_features}"
        return f"{features}, bias={self.bias is not None}" + (f", groups={self.groups}" if self.groups > 1 else "")
