"""Attention of patches with fixed weights that depend on the offset alone."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._grid import Sides
from convnn.nn._layer import TokenLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.convolution import ConvMaker
from convnn.nn.kernels.offsets import OffsetAttention
from convnn.nn.tokens.windows import grid_of_patches, rows_and_columns


class LKCAttention(TokenLayer):
    r"""Large kernel convolutional attention of patches: `OffsetAttention` between two linear layers.

    .. math:: y_i = W_o \left( b + \sum_j A_{h(c) i j} W_v x_j \right)_c, \qquad A_{h i j} = w_{h, j - i}

    with a learned weight of each head h for each offset of patches on their grid; there are neither queries and keys
    nor a softmax. Tokens before the patches, such as a class token, have no place on the grid: each receives the mean
    over all patches instead of the sum. The authors have published no code; this, the projections and the number of
    kernels are ours.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads.
        kernel_size: sides of the kernels, odd numbers; 27 relates all patches of a grid of up to 14 x 14.
        kernels: number of kernels, each for a block of channels, a divisor of dim; 0: one for each head.
        kernel_bias: add the learned b.
        size: rows and columns of the patches; None is the largest square that the tokens fill.
        value_projection: multiply by W_v.
        output_projection: multiply by W_o.
        bias: add learned biases to both projections.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D).

    Raises:
        InputError: an argument is out of range; in forward: another width, or fewer tokens than `size` has patches.

    Reference:
        "LKCA: Large Kernel Convolutional Attention", arXiv 2401.05738.

    Example:
        >>> LKCAttention(24, 3)(torch.randn(2, 1 + 64, 24)).shape
        torch.Size([2, 65, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        kernel_size: Sides = 27,
        kernels: int = 0,
        kernel_bias: bool = True,
        size: tuple[int, int] | None = None,
        value_projection: bool = True,
        output_projection: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads)
        if kernels == 0 and dim % num_heads:
            raise InputError(f"dim={dim} must be a multiple of num_heads={num_heads}, of which each has a kernel")
        self.kernel_size = kernel_size
        self.size = None if size is None else rows_and_columns("size", size)
        self.operator = OffsetAttention(
            ConvMaker(2, device, dtype),
            dim,
            kernel_size=kernel_size,
            kernels=kernels or num_heads,
            kernel_bias=kernel_bias,
        )

        def projection(is_there: bool) -> nn.Module:
            return nn.Linear(dim, dim, bias=bias, device=device, dtype=dtype) if is_there else nn.Identity()

        self.value, self.output = projection(value_projection), projection(output_projection)

    def _forward(self, x: Tensor) -> Tensor:
        rows, columns = grid_of_patches(self.size, x.shape[1])
        others = x.shape[1] - rows * columns
        values = self.value(x[:, others:]).unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        patches = self.operator(values).flatten(2).transpose(1, 2)
        if others:
            means = patches.mean(dim=1, keepdim=True).expand(-1, others, -1)
            patches = torch.cat([means, patches], dim=1)
        return self.output(patches)

    def settings(self) -> Iterable[object]:
        """Return kernels, grid and projections."""
        kernels, has_bias = self.operator.weight.shape[0], self.operator.bias is not None
        yield written(kernel_size=self.kernel_size)
        yield unless_usual(kernels=(kernels, self.num_heads), kernel_bias=(has_bias, True), size=(self.size, None))
        has = {name: not isinstance(getattr(self, name), nn.Identity) for name in ("value", "output")}
        yield unless_usual(value_projection=(has["value"], True), output_projection=(has["output"], True))
