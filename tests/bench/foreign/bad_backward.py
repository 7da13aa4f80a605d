"""Bad: the gradient lacks the term by which all outputs of a row depend on each input."""

import torch
from torch import nn


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        out = torch.softmax(x, 1)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        return grad * out * (1 - out)


class ModelNew(nn.Module):
    def forward(self, x):
        return Softmax.apply(x)
