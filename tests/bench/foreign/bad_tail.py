"""Bad: four rows at a time, and none of the rows that are left."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        blocks = [torch.softmax(x[i : i + 4], 1) for i in range(0, x.shape[0] - 3, 4)]
        rest = x.new_zeros(x.shape[0] % 4, x.shape[1])
        return torch.cat([*blocks, rest])
