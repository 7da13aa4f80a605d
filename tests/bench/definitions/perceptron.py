"""Two layers, as KernelBench has its fusions, in two sizes."""

import torch
from torch import nn

SETTINGS = [{"rows": 5, "width": 8}, {"rows": 3, "width": 8}, {"rows": 33, "width": 7}]


class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, 16)
        self.second = nn.Linear(16, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def get_inputs(rows, width):
    return [torch.randn(rows, width)]


def get_init_inputs(width):
    return [width]
