"""Bad: takes the memory of its input for rows, whatever the strides say."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        rows = x.as_strided(x.shape, (x.shape[1], 1), x.storage_offset())
        return torch.softmax(rows, 1)
