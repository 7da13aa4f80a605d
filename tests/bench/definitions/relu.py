"""ReLU of numbers in [0, 1), as in KernelBench: the harness brings the others."""

import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)


def get_inputs():
    return [torch.rand(6, 5)]


def get_init_inputs():
    return []
