"""Convolutions that can be undone because their matrix is triangular: FInC."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._grid import Sides, check_sides, each_side
from convnn.nn._settings import unless_usual
from convnn.nn.invertible.protocol import Invertible, of_each_image
from convnn.ops import check_backend, triangular

AXES_FLIPPED: dict[str, tuple[int, ...]] = {"TL": (), "TR": (3,), "BL": (2,), "BR": (2, 3)}
"""Axes to flip so that a position sees those above it and to its left, by the corner at which the map is padded."""
ORDERS = tuple(AXES_FLIPPED)


class TriangularConv2d(Invertible):
    r"""A convolution padded at one corner, whose matrix is triangular.

    .. math:: z_{ij} = \sum_{a, b} W_{ab} \, x_{i - a,\, j - b}, \qquad
        \log |\det J| = H W \sum_c \log |(W_{00})_{cc}|

    for the corner "TL", at the top left; the other corners are mirror images. :math:`W_{00}`, by which a position sees
    itself, is lower triangular with ones on its diagonal, whatever the optimiser does to the stored weight; with
    `learn_diagonal` the diagonal is :math:`e^{d_c}` with learned d.

    Several corners share the channels, in blocks of consecutive ones that do not mix.

    Args:
        channels: number of channels, of input and output.
        kernel_size: k, a number, or height and width.
        orders: corner at which the map is padded, "TL", "TR", "BL" or "BR", for each block of channels.
        learn_diagonal: learn the diagonal.
        backend: implementation of the inverse; "auto" is the fastest.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, C, H, W); weight (C, C / blocks, k, k), of all blocks as for "TL".

    Raises:
        InputError: an argument is out of range, or the blocks do not divide the channels.

    Reference:
        Kallappa, Nagar and Varma, "FInC Flow", arXiv 2301.09266. Its code keeps the triangle by masking gradients,
        which weight decay undoes; here the weight is masked.
    """

    free: Tensor
    unit: Tensor

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: Sides = 3,
        orders: tuple[str, ...] = ("TL",),
        learn_diagonal: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_sides("kernel_size", kernel_size, 1)
        check_backend(backend)
        for order in orders:
            check_choice("orders", order, ORDERS)
        if not orders or channels % len(orders):
            raise InputError(f"channels={channels} must be a multiple of the {len(orders)} corners of the padding")
        self.channels, self.orders, self.backend = channels, tuple(orders), backend
        self.kernel_size = each_side("kernel_size", kernel_size, 2)
        width = channels // len(orders)
        shape = (channels, width, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.diagonal = nn.Parameter(torch.empty(channels, device=device, dtype=dtype)) if learn_diagonal else None
        free, unit = torch.ones(shape), torch.zeros(shape)
        free[..., -1, -1] = torch.ones(width, width).tril(-1).repeat(len(orders), 1)
        unit[..., -1, -1] = torch.eye(width).repeat(len(orders), 1)
        where = self.weight.device
        self.register_buffer("free", free.to(where, dtype=dtype), persistent=False)
        self.register_buffer("unit", unit.to(where, dtype=dtype), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight from a normal distribution of deviation 0.05; the diagonal is 1."""
        nn.init.normal_(self.weight, std=0.05)
        if self.diagonal is not None:
            nn.init.zeros_(self.diagonal)

    @property
    def kernel(self) -> Tensor:
        """The kernel with its triangular tap, as for "TL"."""
        unit = self.unit if self.diagonal is None else self.unit * self.diagonal.exp().view(-1, 1, 1, 1)
        return self.weight * self.free + unit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,).

        Raises:
            InputError: the input has other channels or axes.
        """
        self._check(x)
        return self.convolve(x, self.kernel), of_each_image(x, self._log_det(x))

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Convolve (B, C, H, W) with a kernel of the shape of `weight`."""
        blocks = len(self.orders)
        parts = zip(x.chunk(blocks, 1), kernel.chunk(blocks), self.orders, strict=True)
        height, width = (side - 1 for side in self.kernel_size)
        out = []
        for part, weight, order in parts:
            left, right = (0, width) if 3 in AXES_FLIPPED[order] else (width, 0)
            top, bottom = (0, height) if 2 in AXES_FLIPPED[order] else (height, 0)
            out.append(F.conv2d(F.pad(part, (left, right, top, bottom)), weight.flip(AXES_FLIPPED[order])))
        return torch.cat(out, 1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output (B, C, H, W).

        Raises:
            InputError: the output has other channels or axes.
        """
        self._check(z)
        mirrored = self._mirror(z)
        return self._mirror(triangular.solve(mirrored, self.kernel, len(self.orders), backend=self.backend))

    def _mirror(self, x: Tensor) -> Tensor:
        """Flip every block so that its corner is the first; the same again undoes it."""
        if self.orders == ("TL",):
            return x
        parts = zip(x.chunk(len(self.orders), 1), self.orders, strict=True)
        return torch.cat([part.flip(AXES_FLIPPED[order]) for part, order in parts], 1)

    def _log_det(self, x: Tensor) -> Tensor | float:
        return 0.0 if self.diagonal is None else x.shape[2] * x.shape[3] * self.diagonal.sum()

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise InputError(f"input of shape {tuple(x.shape)} must be (B, {self.channels}, H, W)")

    def extra_repr(self) -> str:
        """Return channels, kernel, corners and what else is not usual."""
        others = unless_usual(learn_diagonal=(self.diagonal is not None, False), backend=(self.backend, "auto"))
        written = [str(self.channels), f"kernel_size={self.kernel_size}", f"orders={self.orders}"]
        return ", ".join(filter(None, [*written, others]))


class FInC2d(TriangularConv2d):
    """Four triangular convolutions, one for each quarter of the channels and each corner of the padding.

    Together they see all directions; what follows must mix the quarters, such as `InvertiblePointwise`.

    Args:
        channels: number of channels, a multiple of 4.
        kernel_size, learn_diagonal, backend, device, dtype: as in `TriangularConv2d`.

    Example:
        >>> layer = FInC2d(8).double()
        >>> x = torch.randn(2, 8, 7, 7, dtype=torch.double)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z), x), log_det.tolist()
        (True, [0.0, 0.0])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: Sides = 3,
        learn_diagonal: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            channels,
            kernel_size=kernel_size,
            orders=ORDERS,
            learn_diagonal=learn_diagonal,
            backend=backend,
            device=device,
            dtype=dtype,
        )
