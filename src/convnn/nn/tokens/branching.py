"""ConvNN attention and another layer in parallel, each on its own channels."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.nn._factory import LayerFactory
from convnn.nn._layer import TokenLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import written
from convnn.nn.tokens._layer import share_of_a_head
from convnn.nn.tokens.attention import Attention
from convnn.nn.tokens.convnn import ConvNNAttention
from convnn.words import counted


class MultiheadConv(TokenLayer):
    r"""A convolution along the sequence in every head, between two linear layers.

    .. math:: y = W_o \, (w * (W_x x + b_x) + b) + b_o

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads. They share the kernel.
        kernel_size: length of the kernel, in tokens; the sequence keeps its length.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), any T; weight (d, d, kernel_size), bias (d,).

    Raises:
        InputError: an argument is out of range; in forward: another width.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        kernel_size: int = 9,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads)
        check_at_least("kernel_size", kernel_size, 1)
        width = share_of_a_head(dim, num_heads)
        self.input = nn.Linear(dim, dim, device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(width, width, kernel_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, device=device, dtype=dtype))
        self.output = nn.Linear(dim, dim, device=device, dtype=dtype)
        reset_as_conv(self.weight, self.bias)

    def _forward(self, x: Tensor) -> Tensor:
        heads = self.input(x).mT.unflatten(1, (self.num_heads, -1)).flatten(0, 1)
        heads = F.conv1d(heads, self.weight, self.bias, padding="same")
        return self.output(heads.unflatten(0, (-1, self.num_heads)).flatten(1, 2).mT)

    def settings(self) -> Iterable[object]:
        """Return the length of the kernel."""
        return (written(kernel_size=self.weight.shape[2]),)


class TokenBranching(TokenLayer):
    r"""ConvNN attention on the first channels, and a partner on the others, concatenated and mixed.

    .. math:: y = W \, [\, f_1(x_{1 \dots r}) ; f_2(x_{r+1 \dots D}) \,] + b, \qquad
        r = \lfloor \text{branch\_ratio} \cdot D \rfloor

    At ratio 0 it is the partner alone and at 1 ConvNN attention alone, without W and b.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads of both, which must divide both widths.
        partner: function from width and heads to the other layer.
        branch_ratio: share of the channels that ConvNN attention reads and computes, 0 to 1.
        settings: settings of `ConvNNAttention`.

    Shapes:
        input and output (B, T, D) or (T, D).

    Raises:
        InputError: a setting is out of range, or a share of the channels is not a multiple of the heads; in forward: as
            for `ConvNNAttention`.

    Reference:
        the branching attention of the code published with arXiv 2511.14137.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        partner: LayerFactory,
        *,
        branch_ratio: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(dim, num_heads)
        check_fraction("branch_ratio", branch_ratio)
        first = int(dim * branch_ratio + 1e-6)  # 100 * 0.29 is 28.999999999999996
        self.widths = first, dim - first
        if any(width % num_heads for width in self.widths):
            raise InputError(
                f"branch_ratio={branch_ratio} of dim={dim} makes branches of {first} and"
                f" {counted(dim - first, 'channel')}, which must be multiples of num_heads={num_heads}"
            )
        self.branch_ratio = branch_ratio
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.convnn = ConvNNAttention(first, num_heads, **settings, **where) if first else None
        self.partner = partner(dim - first, num_heads) if first < dim else None
        self.mix = nn.Linear(dim, dim, **where) if 0 < first < dim else None

    def _forward(self, x: Tensor) -> Tensor:
        branches = [branch for branch in (self.convnn, self.partner) if branch is not None]
        if self.mix is None:
            return branches[0](x)
        parts = [branch(part) for branch, part in zip(branches, x.split(self.widths, dim=-1), strict=True)]
        return self.mix(torch.cat(parts, dim=-1))

    def settings(self) -> Iterable[object]:
        """Return the ratio."""
        return (written(branch_ratio=self.branch_ratio),)


class BranchConv(TokenBranching):
    """`TokenBranching` of ConvNN attention and `MultiheadConv`; settings are those of `ConvNNAttention`.

    Example:
        >>> BranchConv(24, 3, kernel_size=5, branch_ratio=0.25)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        kernel_size: int = 9,
        branch_ratio: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        partner = partial(MultiheadConv, kernel_size=kernel_size, **where)
        super().__init__(dim, num_heads, partner, branch_ratio=branch_ratio, **where, **settings)


class BranchAttention(TokenBranching):
    """`TokenBranching` of ConvNN attention and `Attention`; settings are those of the former.

    Example:
        >>> BranchAttention(24, 3, branch_ratio=0.25)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        branch_ratio: float = 0.5,
        attention_dropout: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        partner = partial(Attention, attention_dropout=attention_dropout, **where)
        settings["attention_dropout"] = attention_dropout
        super().__init__(dim, num_heads, partner, branch_ratio=branch_ratio, **where, **settings)
