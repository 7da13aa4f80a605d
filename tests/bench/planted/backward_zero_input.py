"""No gradient reaches the input."""

import torch


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.mT + bias

    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return torch.zeros_like(x), grad.mT @ x, grad.sum(0)


def kernel(x, weight, bias):
    return Linear.apply(x, weight, bias)
