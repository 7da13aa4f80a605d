"""Good: a row a program, in Triton, forward and backward."""

import torch
import triton
import triton.language as tl
from torch import nn

BLOCK = 64


@triton.jit
def forward_kernel(x, out, width, B: tl.constexpr):
    columns = tl.arange(0, B)
    places = tl.program_id(0) * width + columns
    row = tl.load(x + places, mask=columns < width, other=float("-inf"))
    powers = tl.exp(row - tl.max(row, 0))
    tl.store(out + places, powers / tl.sum(powers, 0), mask=columns < width)


@triton.jit
def backward_kernel(grad, out, to, width, B: tl.constexpr):
    columns = tl.arange(0, B)
    places = tl.program_id(0) * width + columns
    g = tl.load(grad + places, mask=columns < width, other=0.0)
    y = tl.load(out + places, mask=columns < width, other=0.0)
    tl.store(to + places, y * (g - tl.sum(g * y, 0)), mask=columns < width)


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        forward_kernel[(x.shape[0],)](x, out, x.shape[1], B=BLOCK)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        to = torch.empty_like(out)
        backward_kernel[(out.shape[0],)](grad.contiguous(), out, to, out.shape[1], B=BLOCK)
        return to


class ModelNew(nn.Module):
    def forward(self, x):
        return Softmax.apply(x)
