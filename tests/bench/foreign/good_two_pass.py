"""Good: powers of two of the distance from the largest number, with a gradient by hand."""

import math

import torch
from torch import nn


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        powers = torch.exp2((x - x.amax(1, keepdim=True)) / math.log(2))
        out = powers / powers.sum(1, keepdim=True)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        return out * (grad - (grad * out).sum(1, keepdim=True))


class ModelNew(nn.Module):
    def forward(self, x):
        return Softmax.apply(x)
