"""What an operator is asked to compute, as far as a backend may care."""

from typing import NamedTuple

import torch


class Request(NamedTuple):
    """One call of an operator.

    Attributes:
        operator: "nearest", "one_of_each", "similarity", "convolve" or "largest".
        device: where the tensors are.
        dtype: floating type of the features.
        K: neighbours per query.
        channels: width of the features.
        groups: blocks of channels that do not mix; 1 where the operator has none.
    """

    operator: str
    device: torch.device
    dtype: torch.dtype
    K: int
    channels: int
    groups: int = 1

    def __str__(self) -> str:
        return (
            f"{self.operator} of {self.channels} {str(self.dtype).removeprefix('torch.')} channels with K={self.K}"
            f" and groups={self.groups} on {self.device}"
        )
