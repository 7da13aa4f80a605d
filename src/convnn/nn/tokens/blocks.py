"""Attention of blocks of tokens to the blocks of tokens that look most alike."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn._settings import unless_usual, written
from convnn.nn.tokens._hilbert import hilbert_order
from convnn.nn.tokens._layer import NeighborAttention
from convnn.nn.tokens._rotary import rotated, speeds_of
from convnn.nn.tokens.windows import rows_and_columns
from convnn.ops import Neighbors, blocks
from convnn.words import counted

ORDERS = ("raster", "hilbert")


class BlockSparseAttention(NeighborAttention):
    r"""Attention in which each block of tokens attends to the blocks with the highest scores of their mean tokens.

    .. math:: y_i = W_o \sum_{j \in O(i)} \operatorname{softmax}_{j \in O(i)}
        \left( \frac{W_q x_i \cdot W_k x_j}{\sqrt{d}} \right) W_v x_j

    where all queries i of a block have the same O(i), the blocks of keys that `convnn.ops.blocks.choose` opens in each
    head. The choice has no gradient.

    Tokens are frames one after the other, each of special tokens (of a class, of a camera, registers) and then patches.
    Only patches are in blocks. Special tokens attend to all tokens, and are attended to by all: they follow the patches
    in the list of keys, and the blocks after the last one with patches are always opened. Where patches do not fill
    their last block, the first special tokens share it, as in the published code, and are left out when it is.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim; d = dim / num_heads.
        block: patches that choose together, and keys that are chosen together.
        keep: smallest share of the blocks with patches that is opened, 0 to 1; with 1, this is attention to all.
        mass: share of the pooled attention up to which more blocks are opened, 0 to 1; None opens no more.
        pool: how the tokens of a block are pooled for its score, "mean" or "max" of each channel.
        special_tokens: number of special tokens of a frame; 1 in a ViT with a class token.
        size: rows and columns of the patches of a frame; None is one frame of any number of patches, a square if their
            places matter.
        order: in which patches form blocks: "raster", or "hilbert", along a curve that stays near.
        qk_norm: apply LayerNorm to queries and keys of each head.
        rotary: rotate queries and keys by the row and column of their patch; d must be a multiple of 4.
        bias: add learned biases to queries, keys, values and output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), T a number of whole frames.

    Raises:
        InputError: an argument is out of range; in forward: another width, or tokens that are not frames.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Wang et al., "Faster VGGT with Block-Sparse Global Attention", arXiv 2509.07120; its example has keep=0.9 and
        mass=0.97. Rotary positions: rows turn the first half of the channels, with base 100, as in VGGT.

    Example:
        >>> layer = BlockSparseAttention(24, 3, block=(16, 8), keep=0.5, special_tokens=1)
        >>> layer(torch.randn(2, 1 + 64, 24)).shape
        torch.Size([2, 65, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        block: tuple[int, int] = (128, 64),
        keep: float = 0.25,
        mass: float | None = None,
        pool: str = "mean",
        special_tokens: int = 0,
        size: tuple[int, int] | None = None,
        order: str = "raster",
        qk_norm: bool = False,
        rotary: bool = False,
        bias: bool = False,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        blocks.check_block(block)
        check_fraction("keep", keep)
        if mass is not None:
            check_fraction("mass", mass)
        check_choice("pool", pool, blocks.POOLS)
        check_at_least("special_tokens", special_tokens, 0)
        check_choice("order", order, ORDERS)
        super().__init__(dim, num_heads, attention_dropout=0.0, bias=bias, backend=backend, device=device, dtype=dtype)
        if rotary and self.head_width % 4:
            raise InputError(
                f"rotary=True needs heads of a multiple of 4 channels, not dim / num_heads={self.head_width}"
            )
        self.block, self.keep, self.mass, self.pool = (block[0], block[1]), keep, mass, pool
        self.special_tokens = special_tokens
        self.size = None if size is None else rows_and_columns("size", size)
        self.order, self.rotary = order, rotary
        self.query_norm = _norm(qk_norm, self.head_width, device, dtype)
        self.key_norm = _norm(qk_norm, self.head_width, device, dtype)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of each head: (B, H, T, d) each, the first two normalised and rotated."""
        queries, keys, values = super().project(x)
        queries, keys = self.query_norm(queries), self.key_norm(keys)
        if self.rotary:
            queries, keys = self._rotated(queries), self._rotated(keys)
        return queries, keys, values

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend in every head: (B, H, T, d)."""
        order, patches = self._order(queries.shape[2], queries.device)
        queries, keys, values = (one.index_select(2, order) for one in (queries, keys, values))
        q, k, v = queries[:, :, :patches].flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
        heads = blocks.attend(q, k, v, self._open(q, k, patches), self.block, backend=self.backend)
        heads = heads.unflatten(0, (-1, self.num_heads))
        if self.special_tokens:
            special = F.scaled_dot_product_attention(
                queries[:, :, patches:].to(values.dtype), keys.to(values.dtype), values
            )
            heads = torch.cat([heads, special], dim=2)
        return heads.index_select(2, order.argsort())

    def select(self, queries: Tensor, keys: Tensor) -> Neighbors:
        """Return the keys that each token attends to, absent in the slots that others fill; for `neighbors` alone."""
        order, patches = self._order(keys.shape[1], keys.device)
        rank = order.argsort()
        is_open = self._open(queries[:, order][:, :patches], keys[:, order], patches)
        is_open = F.pad(is_open, (0, 0, 0, 1), value=True)  # and a row for the special tokens
        row = torch.where(rank < patches, rank // self.block[0], is_open.shape[1] - 1)
        pairs = is_open[:, row][:, :, rank // self.block[1]]
        indices = pairs.byte().argsort(dim=2, descending=True, stable=True)[:, :, : int(pairs.sum(2).max())]
        is_open = pairs.gather(2, indices)
        last = indices.gather(2, is_open.sum(2, keepdim=True) - 1)  # of those opened, which the others repeat
        return Neighbors(torch.where(is_open, indices, last), absent=~is_open)

    def block_scores(self, x: Tensor) -> Tensor:
        """Return the pooled scores (B, H, Q, J) of blocks of patches in x (B, T, D)."""
        order, patches = self._order(x.shape[1], x.device)
        queries, keys = (one.flatten(0, 1)[:, order[:patches]] for one in self.project(x)[:2])
        return blocks.pooled_scores(queries, keys, self.block, pool=self.pool).unflatten(0, (-1, self.num_heads))

    def open_blocks(self, x: Tensor) -> Tensor:
        """Return which blocks of keys each block of patches in x (B, T, D) opens, (B, H, Q, J) bool."""
        order, patches = self._order(x.shape[1], x.device)
        queries, keys = (one.flatten(0, 1)[:, order] for one in self.project(x)[:2])
        return self._open(queries[:, :patches], keys, patches).unflatten(0, (-1, self.num_heads))

    def _open(self, queries: Tensor, keys: Tensor, patches: int) -> Tensor:
        """Return which blocks of keys (B * H, T, d), patches first, blocks of patches open."""
        chosen = blocks.choose(queries, keys[:, :patches], self.block, keep=self.keep, mass=self.mass, pool=self.pool)
        after = -(-keys.shape[1] // self.block[1]) - chosen.shape[2]
        return F.pad(chosen, (0, after), value=True)

    def _order(self, length: int, device: torch.device) -> tuple[Tensor, int]:
        """Return the tokens (T,) with all patches before all special tokens, and the number of patches."""
        rows, columns = self._grid(length)
        tokens = torch.arange(length, device=device).view(-1, self.special_tokens + rows * columns)
        special, patches = tokens[:, : self.special_tokens], tokens[:, self.special_tokens :]
        if self.order == "hilbert":
            patches = patches[:, torch.tensor(hilbert_order(rows, columns), device=device)]
        return torch.cat([patches.flatten(), special.flatten()]), patches.numel()

    def _grid(self, length: int) -> tuple[int, ...]:
        """Return rows and columns of the patches of a frame."""
        if self.size is not None:
            frame = self.special_tokens + self.size[0] * self.size[1]
            if length % frame:
                raise InputError(
                    f"input of {counted(length, 'token')} must be whole frames of {frame}: special_tokens="
                    f"{self.special_tokens} and the patches of size={self.size}"
                )
            return self.size
        patches = length - self.special_tokens
        if patches < 1:
            raise InputError(f"special_tokens={self.special_tokens} leaves no patch of {counted(length, 'token')}")
        if self.order == "raster" and not self.rotary:
            return 1, patches
        side = round(patches**0.5)
        if side * side != patches:
            raise InputError(f"size=None is a square, which {counted(patches, 'patch', 'patches')} are not; give size")
        return side, side

    def _rotated(self, heads: Tensor) -> Tensor:
        """Rotate one half of the channels of heads (B, H, T, d) by rows, which count from 1, the other by columns."""
        length = heads.shape[2]
        rows, columns = self._grid(length)
        place = torch.arange(length, device=heads.device) % (self.special_tokens + rows * columns) - self.special_tokens
        down = torch.where(place < 0, 0, place // columns + 1)
        right = torch.where(place < 0, 0, place % columns + 1)
        speeds = speeds_of(self.head_width // 2, 100, heads.device, torch.promote_types(heads.dtype, torch.float32))
        halves = zip(heads.chunk(2, dim=-1), (down, right), strict=True)
        return torch.cat([rotated(half, at, speeds) for half, at in halves], dim=-1)

    def settings(self) -> Iterable[object]:
        """Return blocks, their choice and order, and what is done to queries and keys."""
        yield written(block=self.block, keep=self.keep)
        yield unless_usual(
            mass=(self.mass, None),
            pool=(self.pool, "mean"),
            special_tokens=(self.special_tokens, 0),
            size=(self.size, None),
            order=(self.order, "raster"),
            qk_norm=(isinstance(self.query_norm, nn.LayerNorm), False),
            rotary=(self.rotary, False),
        )


def _norm(is_wanted: bool, width: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    return nn.LayerNorm(width, device=device, dtype=dtype) if is_wanted else nn.Identity()
