"""The properties of a call that decide whether a backend can compute it."""

from typing import NamedTuple

import torch

from convnn.words import counted


class Request(NamedTuple):
    """One call of an operator.

    Attributes:
        operator: name of the operator, such as "nearest".
        device: where the tensors are.
        dtype: floating type of the features.
        K: neighbours per query, or positions of a window; 0 for lists of any length.
        channels: width of the features.
        groups: blocks of channels that do not mix; 1 for operators without groups.
    """

    operator: str
    device: torch.device
    dtype: torch.dtype
    K: int
    channels: int
    groups: int = 1

    def __str__(self) -> str:
        channels = counted(self.channels, f"{str(self.dtype).removeprefix('torch.')} channel")
        return f"{self.operator} of {channels} with K={self.K} and groups={self.groups} on {self.device}"
