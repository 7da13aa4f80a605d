"""The gradient of the weights in half precision."""

import torch


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.mT + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, (grad.half().mT @ x.half()).to(x.dtype), grad.sum(0)


def kernel(x, weight, bias):
    return Linear.apply(x, weight, bias)
