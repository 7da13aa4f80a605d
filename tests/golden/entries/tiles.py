"""ThunderKittens (arXiv 2410.20399): attention, linear attention, the multiplication of gathered rows, and tiles.

In Triton's interpreter (`TRITON_INTERPRET=1`) the kernels are compared, elsewhere their definitions.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import reference, triton
from golden.case import Case
from golden.entry import Entry

if triton.INTERPRETS:
    import tile_kernels


class _Attention(torch.autograd.Function):
    """Attention by the kernels, with their gradients."""

    @staticmethod
    def forward(ctx, q, k, v, mask, causal, scale, block):
        out, logarithms = triton.attend(q, k, v, mask, causal, scale, block=block)
        ctx.save_for_backward(q, k, v, out, logarithms)
        ctx.settings, ctx.block = (mask, causal, scale), block
        ctx.mark_non_differentiable(logarithms)
        return out, logarithms

    @staticmethod
    def backward(ctx, grad, _):
        gradients = triton.attend_backward(grad, *ctx.saved_tensors, *ctx.settings, block=ctx.block)
        return *gradients, None, None, None, None


class _LinearAttention(torch.autograd.Function):
    """Linear attention by the kernels, with their gradients."""

    @staticmethod
    def forward(ctx, q, k, v, slopes, chunk):
        ctx.save_for_backward(q, k, v, slopes)
        ctx.chunk = chunk
        out, state = triton.attend_linearly(q, k, v, slopes, chunk=chunk)
        ctx.mark_non_differentiable(state)
        return out, state

    @staticmethod
    def backward(ctx, grad, _):
        return *triton.attend_linearly_backward(grad, *ctx.saved_tensors, chunk=ctx.chunk), None, None


class _GatherMultiply(torch.autograd.Function):
    """The kernel over the neighbours by the kernels, with their gradients."""

    @staticmethod
    def forward(ctx, x, indices, factors, weight):
        ctx.save_for_backward(x, indices, factors, weight)
        return triton.convolve(x, indices, factors, weight, None, 1)

    @staticmethod
    def backward(ctx, grad):
        x, indices, factors, weight = ctx.saved_tensors
        needs = [True, True, True]
        of_x, of_factors, of_weight = triton.convolve_backward(grad, x, indices, factors, weight, 1, needs)
        return of_x, None, of_factors, of_weight


def _side(case: Case, name: str) -> int:
    """Return the side of a tile: the published one, or the least that can be multiplied, which gives the same."""
    return max(16, case.config.get(name, 16))


def _attention(case: Case):
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Mapping[str, Tensor]:
        shape = q.shape[:-1]
        scale = case.config.get("scale") or q.shape[-1] ** -0.5
        mask = case.tensors["mask"].bool() if "mask" in case.tensors else None
        if mask is not None:
            mask = mask.expand(*shape, k.shape[-2]).flatten(0, -3)
        rows = [one.flatten(0, -3) for one in (q, k, v)]
        causal = bool(case.config.get("causal"))
        if triton.INTERPRETS:
            out, logarithms = _Attention.apply(*rows, mask, causal, scale, _side(case, "block"))
        else:
            out, logarithms = reference.attend(*rows, mask, causal, scale)
        return {"output": out.unflatten(0, shape[:-1]), "lse": logarithms.view(shape)}

    return attend


def _running(case: Case) -> Mapping[str, Tensor]:
    """Return the state of the softmax after each block of keys."""
    if "running_max" not in case.tensors:
        return {}
    q, k = case.tensors["q"], case.tensors["k"]
    scores = (q @ k.mT) * (case.config.get("scale") * math.log2(math.e))
    seen = torch.ones_like(scores, dtype=torch.bool)
    if "mask" in case.tensors:
        seen = seen & case.tensors["mask"].bool()
    if case.config.get("causal"):
        seen = seen.tril(k.shape[-2] - q.shape[-2])
    scores, block = scores.masked_fill(~seen, -torch.inf), case.config["block"]
    if triton.INTERPRETS:
        found = tile_kernels.running_sums(scores.flatten(0, -2), block)
    else:
        ends = range(block, scores.shape[-1] + block, block)
        maxima = torch.stack([scores[..., :end].amax(-1) for end in ends])
        levels = maxima.nan_to_num(neginf=0.0)
        sums = [(scores[..., :end] - level[..., None]).exp2().sum(-1) for end, level in zip(ends, levels, strict=True)]
        found = maxima, torch.stack(sums)
    shape = case.tensors["running_max"].shape
    return {name: one.view(shape) for name, one in zip(("running_max", "running_norm"), found, strict=True)}


def _linear_attention(case: Case):
    def attend(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Mapping[str, Tensor]:
        shape = q.shape[:-2]
        rows = [one.flatten(0, -3) for one in (q, k, v)]
        slopes = slopes.detach().expand(shape).flatten()
        if triton.INTERPRETS:
            out, state = _LinearAttention.apply(*rows, slopes, _side(case, "chunk"))
        else:
            out, state = reference.attend_linearly(*rows, slopes)
        return {"output": out.unflatten(0, shape), "final_state": state.unflatten(0, shape)}

    return attend


class _Gathered(torch.nn.Module):
    """y_t = b + sum_k a_tk x[idx_tk] W_k, of which index -1 reads a row of zeros."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(case.tensors["param.weight"].shape))
        self.bias = torch.nn.Parameter(torch.empty(case.tensors["param.bias"].shape))

    def forward(self, x: Tensor, indices: Tensor, factors: Tensor) -> Tensor:
        weight, indices, factors = self.weight.permute(2, 1, 0), indices[None], factors[None]
        if triton.INTERPRETS:
            return _GatherMultiply.apply(x[None], indices, factors, weight)[0] + self.bias
        padded = F.pad(x, (0, 0, 0, 1))[None]
        return reference.convolve(padded, indices % padded.shape[1], factors, weight, self.bias, 1)[0]


def _tiles(case: Case):
    def operate(x: Tensor) -> Mapping[str, Tensor]:
        valid = case.config["valid_columns"]
        orders = {f"order.{R}.{C}.{S}": _order(R, C, S) for R, C, S in case.config["cases"]}
        if triton.INTERPRETS:
            return tile_kernels.tile_operations(x.detach(), valid) | orders
        cut = x.clone()
        cut[:, valid:] = -torch.inf
        return orders | {
            "right_fill": cut, "row_max": cut.amax(1), "row_sum": x.sum(1), "row_prod": x.prod(1), "col_max": x.amax(0),
            "col_sum": x.sum(0), "sub_row_vector_per_row": x - x.amax(1)[:, None], "tril": x.tril(),
            "mma_AtB": x.mT @ x, "mma_ABt": x @ x.mT,
        }  # fmt: skip

    return operate


def _order(rows: int, columns: int, height: int) -> Tensor:
    """Return the blocks in the order of tasks, group by group."""
    if triton.INTERPRETS:
        return tile_kernels.order(rows, columns, height)
    groups = [range(first, min(first + height, rows)) for first in range(0, rows, height)]
    return torch.tensor([(row, column) for group in groups for column in range(columns) for row in group])


ENTRIES = {
    "attention": Entry(_attention, ("q", "k", "v"), ("output", "lse"), also=lambda _, case: _running(case)),
    "linear_attention": Entry(_linear_attention, ("q", "k", "v", "slopes"), ("output", "final_state")),
    "gather_gemm": Entry(_Gathered, ("x", "indices", "weights"), gradients={"weights": "grad_weights"}),
    "tiles": Entry(_tiles, ("x",), ()),
}
