"""Two vectors that change each other: interleaved as the fields of a chequerboard, and convolved around its edges."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction, check_odd


class ChequeredInteraction(nn.Module):
    r"""Map a pair of vectors to a pair, by a circular convolution of their components on a board.

    In even rows of the board a component of a comes before one of b, in odd rows after; the order of components is
    drawn once, for each of P boards, and kept with the weights. Filters of C channels are shared by the boards; then
    come normalisation, ReLU and a linear map.

    Args:
        shape: width W and height H with W H = d; the board is 2 W x H.
        channels: C.
        kernel: side of the filters, odd.
        boards: P.
        dropouts: probabilities on the board, on the channels after the convolution, and on the result.
        generator: source of the orders; None is that of torch.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Vashishth et al., "InteractE", arXiv 1911.00219; in both directions in HyperFormer, arXiv 2308.06512.
    """

    order: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        channels: int = 96,
        kernel: int = 9,
        boards: int = 1,
        dropouts: tuple[float, float, float] = (0.0, 0.0, 0.0),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("width", shape[0]), ("height", shape[1]), ("channels", channels), ("boards", boards)):
            check_at_least(name, value, 1)
        check_odd("kernel", kernel)
        for rate in dropouts:
            check_fraction("dropout", rate)
        self.shape, self.boards, self.dim, self.dropouts = shape, boards, shape[0] * shape[1], dropouts
        orders = [self._board(number, generator) for number in range(boards)]
        self.register_buffer("order", torch.stack(orders))
        self.filters = nn.Parameter(torch.empty(channels, 1, kernel, kernel))
        self.norm_board, self.norm_channels = nn.BatchNorm2d(boards), nn.BatchNorm2d(boards * channels)
        self.linear = nn.Linear(boards * channels * 2 * self.dim, 2 * self.dim)
        self.norm = nn.BatchNorm1d(2 * self.dim)
        nn.init.xavier_normal_(self.filters)

    def _board(self, number: int, generator: torch.Generator | None) -> Tensor:
        """Return the component of (a, b) in each field of a board, row by row; every other board begins with b."""
        width, height = self.shape
        first, second = torch.randperm(self.dim, generator=generator), torch.randperm(self.dim, generator=generator)
        rows = torch.stack([first, second + self.dim], dim=1).view(height, width, 2)
        swapped = (torch.arange(height) + number) % 2 == 1
        return torch.where(swapped.view(-1, 1, 1), rows.flip(2), rows).flatten()

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return what both vectors (B, d) become, each (B, d).

        Raises:
            InputError: a shape is wrong.
        """
        if a.dim() != 2 or a.shape != b.shape or a.shape[1] != self.dim:
            raise InputError(
                f"a of shape {tuple(a.shape)} and b of shape {tuple(b.shape)} must be (B, {self.dim}), the fields of"
                f" shape={self.shape}"
            )
        width, height = self.shape
        board = torch.cat([a, b], dim=1)[:, self.order].view(-1, self.boards, 2 * width, height)
        board = F.dropout(self.norm_board(board), self.dropouts[0], self.training)
        board = F.pad(board, (self.filters.shape[-1] // 2,) * 4, mode="circular")
        found = F.conv2d(board, self.filters.repeat(self.boards, 1, 1, 1), groups=self.boards)
        found = F.dropout2d(F.relu(self.norm_channels(found)), self.dropouts[1], self.training)
        out = F.dropout(self.linear(found.flatten(1)), self.dropouts[2], self.training)
        new_a, new_b = self.norm(out).chunk(2, dim=1)
        return new_a, new_b
