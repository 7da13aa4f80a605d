"""Bad: powers of e without the largest number taken off, which overflow."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        powers = torch.exp(x)
        return powers / powers.sum(1, keepdim=True)
