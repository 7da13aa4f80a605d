"""Softmax over rows, in several sizes."""

import torch

SETTINGS = [{"rows": 5, "width": 7}, {"rows": 8, "width": 16}, {"rows": 3, "width": 33}]


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)


def get_inputs(rows, width):
    return [torch.randn(rows, width)]


def get_init_inputs():
    return []
