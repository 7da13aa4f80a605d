"""The sum of each row, spread over it: a result of shape (B, 1) would broadcast."""

import torch

from convnn.bench import Task


def inputs(generator, setting):
    return (torch.randn(setting["rows"], 6, generator=generator, dtype=torch.float64),)


TASK = Task(
    "row_sum",
    lambda x: x.sum(1, keepdim=True).expand_as(x).contiguous(),
    inputs,
    [{"rows": 4}, {"rows": 1}, {"rows": 33}],
)
