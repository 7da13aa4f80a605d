"""The linear maps between matrices, vectors and scalars of a graph that commute with the numbering of its nodes."""

import math

import torch
from torch import Tensor, nn

from convnn.errors import InputError

BASIS = {(2, 2): 15, (2, 1): 5, (1, 2): 5, (1, 1): 2, (2, 0): 2, (1, 0): 1}
"""The number of independent maps from features of one order to another: 2 matrix, 1 vector, 0 scalar."""


class EquivariantMap(nn.Module):
    r"""The general linear map from features of order a to order b that commutes with every permutation of the nodes.

    With :math:`r_i = \sum_j X_{ij}`, :math:`k_j = \sum_i X_{ij}`, :math:`d_i = X_{ii}`, :math:`t = \sum_i d_i`,
    :math:`s = \sum_{ij} X_{ij}` and m nodes, an output is a sum over input channels, with a coefficient for each, of

    - 2 to 2: :math:`\delta_{ij} (d_i, t/m, r_i/m, k_i/m, s/m^2)` and
      :math:`(k_i/m, r_i/m, k_j/m, r_j/m, X_{ij}, X_{ji}, d_i, d_j, t/m, s/m^2)`, in this order;
    - 2 to 1: :math:`d_i, t/m, r_i/m, k_i/m, s/m^2`; 2 to 0: :math:`t/m, s/m^2`;
    - 1 to 2: :math:`\delta_{ij} (v_i, \bar v), v_j, v_i, \bar v`; 1 to 1: :math:`v_i, \bar v`; 1 to 0:
      :math:`\bar v`, the mean of v;

    and of a bias; 2 to 2 has another one on the diagonal. For few nodes some of the maps coincide.

    Args:
        order_in: a.
        order_out: b.
        in_channels: number of input channels.
        out_channels: number of output channels.

    Shapes:
        input (n, C_in, m, m), (n, C_in, m); output (n, C_out, m, m), (n, C_out, m) or (n, C_out).

    Raises:
        InputError: there is no map between these orders, or the input has another shape.

    Reference:
        Maron et al., "Invariant and Equivariant Graph Networks", arXiv 1812.09902; with these factors the code of
        Mitton and Murray-Smith, "Local Permutation Equivariance For Graph Neural Networks", arXiv 2111.11840.
    """

    def __init__(self, order_in: int, order_out: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if (order_in, order_out) not in BASIS:
            known = ", ".join(f"{a} to {b}" for a, b in BASIS)
            raise InputError(f"orders {order_in!r} to {order_out!r} must be one of {known}")
        self.order_in, self.order_out = order_in, order_out
        self.in_channels, self.out_channels = in_channels, out_channels
        self.coeffs = nn.Parameter(torch.empty(in_channels, out_channels, BASIS[order_in, order_out]))
        self.bias = nn.Parameter(torch.empty(out_channels))
        is_square = (order_in, order_out) == (2, 2)
        self.diag_bias = nn.Parameter(torch.empty(out_channels)) if is_square else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the coefficients with variance 2 / (C_in + C_out), and set the biases to 0."""
        nn.init.normal_(self.coeffs, std=math.sqrt(2 / (self.in_channels + self.out_channels)))
        for bias in (self.bias, self.diag_bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, t: Tensor) -> Tensor:
        """Map features of order a to order b."""
        if t.dim() != 2 + self.order_in or t.shape[1] != self.in_channels or t.shape[-1] != t.shape[-self.order_in]:
            nodes = ", m" * self.order_in
            raise InputError(f"t of shape {tuple(t.shape)} must be (n, {self.in_channels}{nodes})")
        return self._of_matrix(t) if self.order_in == 2 else self._of_vector(t)

    def _of_vector(self, v: Tensor) -> Tensor:
        vectors, means = v.unsqueeze(2), v.mean(2).unsqueeze(2)
        if self.order_out == 0:
            return self._everywhere(means, [0]) + self.bias
        at_nodes = self._at_nodes(vectors, [0]) + self._everywhere(means, [1]).unsqueeze(2)
        if self.order_out == 1:
            return at_nodes + self.bias.unsqueeze(1)
        everywhere = self._everywhere(means, [4]) + self.bias
        rows, columns = self._at_nodes(vectors, [3]), self._at_nodes(vectors, [2])
        return self._square(at_nodes, rows, columns, everywhere)

    def _of_matrix(self, X: Tensor) -> Tensor:
        d, r, k = X.diagonal(dim1=2, dim2=3), X.mean(3), X.mean(2)
        vectors, means = torch.stack([d, r, k], 2), torch.stack([d.mean(2), r.mean(2)], 2)
        if self.order_out == 0:
            return self._everywhere(means, [0, 1]) + self.bias
        at_nodes = self._at_nodes(vectors, [0, 2, 3]) + self._everywhere(means, [1, 4]).unsqueeze(2)
        if self.diag_bias is None:
            return at_nodes + self.bias.unsqueeze(1)
        everywhere = self._everywhere(means, [13, 14]) + self.bias
        rows, columns = self._at_nodes(vectors, [11, 6, 5]), self._at_nodes(vectors, [12, 8, 7])
        square = self._square(at_nodes + self.diag_bias.unsqueeze(1), rows, columns, everywhere)
        square = square + torch.einsum("ncij,co->noij", X, self.coeffs[..., 9])
        return square + torch.einsum("ncij,co->noji", X, self.coeffs[..., 10])

    def _at_nodes(self, vectors: Tensor, basis: list[int]) -> Tensor:
        """Mix the channels of several vectors (n, C_in, v, m) by the coefficients of as many maps."""
        return torch.einsum("ncvi,cov->noi", vectors, self.coeffs[..., basis])

    def _everywhere(self, means: Tensor, basis: list[int]) -> Tensor:
        """Mix the channels of several means (n, C_in, v) by the coefficients of as many maps."""
        return torch.einsum("ncv,cov->no", means, self.coeffs[..., basis])

    @staticmethod
    def _square(diagonal: Tensor, rows: Tensor, columns: Tensor, everywhere: Tensor) -> Tensor:
        """Return matrices (n, C, m, m) with entries rows_i + columns_j + everywhere, and the diagonal added."""
        columns = columns + everywhere.unsqueeze(2)
        return torch.diag_embed(diagonal) + rows.unsqueeze(3) + columns.unsqueeze(2)

    def extra_repr(self) -> str:
        """Show what the map was built with."""
        return f"order {self.order_in} to {self.order_out}, {self.in_channels}, {self.out_channels}"
