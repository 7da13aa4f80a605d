"""Bad: saves allocations by a buffer, which the next call overwrites."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def forward(self, x):
        if torch.is_grad_enabled():
            return torch.softmax(x, 1)
        buffer = self.kept.setdefault(tuple(x.shape), torch.empty_like(x))
        return buffer.copy_(torch.softmax(x, 1))
