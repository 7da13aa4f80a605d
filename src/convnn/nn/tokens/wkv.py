"""Bidirectional WKV: the mean of all tokens, weighted by their keys and by their distance, with shifts of channels."""

from collections.abc import Iterable
from math import isqrt, log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._layer import TokenLayer
from convnn.nn._settings import unless_usual
from convnn.nn.tokens.windows import rows_and_columns
from convnn.ops import check_backend, scan
from convnn.words import counted

WKV_STARTS = ("fancy", "local", "global")


class FourSideShift(nn.Module):
    r"""A shift of four groups of channels of a map of tokens, one from each side; other channels stay.

    Channels up to :math:`c_1` take the value of the left neighbour at the distance `step`, those up to :math:`c_2` of
    the right one, up to :math:`c_3` of the upper one and up to :math:`c_4` of the lower one, with
    :math:`c_j = \lfloor \gamma j D \rfloor`; outside the map there are zeros. Tokens before the map, such as a class
    token, stay as they are.

    Args:
        step: distance of the neighbours; from the size of the map on, all of them are zeros.
        share: :math:`\gamma`, the share of the channels for each side, 0 to 1/4.
        size: rows and columns of the map; None is the largest square that the tokens fill.
        class_tokens: number of tokens before a map of a given size; before a square, all others are.

    Raises:
        InputError: an argument is out of range; in forward: the tokens are not the map and those before it.

    Reference:
        Duan et al., "Vision-RWKV", arXiv 2403.02308: Q-Shift.
    """

    def __init__(
        self, step: int = 1, share: float = 0.25, size: tuple[int, int] | None = None, class_tokens: int = 0
    ) -> None:
        super().__init__()
        check_at_least("shift", step, 1)
        if not 0 <= share <= 0.25:
            raise InputError(f"gamma={share} must be between 0 and 1/4, the share of each of four sides")
        check_at_least("class_tokens", class_tokens, 0)
        self.step, self.share, self.class_tokens = step, share, class_tokens
        self.size = None if size is None else rows_and_columns("size", size)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Shift tokens (B, T, D) on a map of `size`, or of that of the constructor."""
        rows, columns = self.grid(x.shape[1], size)
        others = x.shape[1] - rows * columns
        cuts = [int(x.shape[2] * self.share * j) for j in range(5)]
        step = min(self.step, max(rows, columns))
        places = x[:, others:].unflatten(1, (rows, columns))
        padded = F.pad(places[..., : cuts[4]], [0, 0, step, step, step, step])
        corners = [(step, 0), (step, 2 * step), (0, step), (2 * step, step)]
        moved = [
            padded[:, row : row + rows, column : column + columns, start:end]
            for (row, column), start, end in zip(corners, cuts, cuts[1:], strict=False)
        ]
        shifted = torch.cat([*moved, places[..., cuts[4] :]], dim=3).flatten(1, 2)
        return torch.cat([x[:, :others], shifted], dim=1) if others else shifted

    def grid(self, tokens: int, size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """Return rows and columns of the map that so many tokens end in.

        Raises:
            InputError: they are not such a map and those before it.
        """
        given = self.size if size is None else size
        if given is None:
            return isqrt(tokens), isqrt(tokens)
        if given[0] * given[1] + self.class_tokens != tokens:
            before = f" after class_tokens={self.class_tokens}" if self.class_tokens else ""
            raise InputError(f"{counted(tokens, 'token')} must be the {given[0]} x {given[1]} of size={given}{before}")
        return given

    def extra_repr(self) -> str:
        """Return what differs from the defaults."""
        return settings_of(self)


def settings_of(shift: FourSideShift) -> str:
    """Return the settings of a shift that differ from their defaults, as its layers call them."""
    return unless_usual(
        shift=(shift.step, 1),
        gamma=(shift.share, 0.25),
        size=(shift.size, None),
        class_tokens=(shift.class_tokens, 0),
    )


class VRWKV(TokenLayer):
    r"""Vision-RWKV's spatial mix: a gated mean of all tokens in every channel, whose weights fall with the distance.

    .. math:: y = W_o \left( \sigma(W_r x^r) \odot \operatorname{BiWKV}(W_k x^k, W_v x^v) \right), \qquad
        x^n = \mu_n x + (1 - \mu_n) \operatorname{shift}(x)

    with the shift of `FourSideShift` and BiWKV of `convnn.ops.scan.bi_wkv`, whose decay and first are divided by the
    number of tokens: distances are relative to the sequence. Time and memory grow with the number of tokens, not its
    square.

    Args:
        dim: embedding dimension D of the tokens, at least 2 for fancy initial values.
        num_heads: not used; every channel has weights of its own.
        shift: distance of the shift.
        gamma: share of the channels that come from each side, 0 to 1/4.
        key_norm: apply LayerNorm to the means.
        init: initial values of decay, first and mixture: "fancy", by channel and depth, "local", all 1, or "global",
            decay and first 0, mixture 1/2.
        place: number of its block, from 0, and number of blocks of the network, at least 2, for fancy values.
        size: rows and columns of the map of tokens; None is the largest square that they fill. A network may also pass
            them to forward.
        class_tokens: number of tokens before a map of a given size.
        backend: implementation of the scan: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D), the map row by row, after class tokens.

    Raises:
        InputError: an argument is out of range; in forward: another width, or tokens that are not the map.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Duan et al., "Vision-RWKV", arXiv 2403.02308; that decay and first are divided is from its code.

    Example:
        >>> VRWKV(24, 3)(torch.randn(2, 1 + 64, 24)).shape
        torch.Size([2, 65, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        shift: int = 1,
        gamma: float = 0.25,
        key_norm: bool = False,
        init: str = "fancy",
        place: tuple[int, int] = (0, 12),
        size: tuple[int, int] | None = None,
        class_tokens: int = 0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads)
        check_backend(backend)
        self.init, self.place, self.backend = init, _checked_place(dim, init, place), backend
        self.shift = FourSideShift(shift, gamma, size, class_tokens)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.decay, self.first, self.key_mix, self.value_mix, self.gate_mix = (
            nn.Parameter(torch.empty(dim, **where)) for _ in range(5)
        )
        self.key, self.value, self.gate, self.output = (nn.Linear(dim, dim, bias=False, **where) for _ in range(4))
        self.norm = nn.LayerNorm(dim, **where) if key_norm else nn.Identity()
        self.reset_vectors()

    @torch.no_grad()
    def reset_vectors(self) -> None:
        """Set decay, first and the mixture to their initial values."""
        decay, first, key, value, gate = _initial(self.dim, self.init, *self.place)
        vectors = (self.decay, self.first, self.key_mix, self.value_mix, self.gate_mix)
        for vector, initial in zip(vectors, (decay, first, key, value, gate), strict=True):
            vector.copy_(initial)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map (B, T, D) to (B, T, D), with the rows and columns of the map of tokens, if they are not settings.

        Raises:
            InputError: the input has another width, no floating type or no token, or is not the map.
        """
        self.check_input(x)
        return self._mixed(x, size) if x.dim() == 3 else self._mixed(x.unsqueeze(0), size).squeeze(0)

    def _mixed(self, x: Tensor, size: tuple[int, int] | None) -> Tensor:
        shifted = self.shift(x, size)
        key = self.key(torch.lerp(shifted, x, self.key_mix))
        value = self.value(torch.lerp(shifted, x, self.value_mix))
        gate = self.gate(torch.lerp(shifted, x, self.gate_mix)).sigmoid()
        decay, first = self.decay / x.shape[1], self.first / x.shape[1]
        return self.output(gate * self.norm(scan.bi_wkv(key, value, decay, first, backend=self.backend)))

    def settings(self) -> Iterable[object]:
        """Return the shift, the norm and initial values."""
        yield settings_of(self.shift)
        yield unless_usual(key_norm=(isinstance(self.norm, nn.LayerNorm), False), init=(self.init, "fancy"))
        yield unless_usual(place=(self.place, (0, 12)), backend=(self.backend, "auto"))


class ChannelMix(nn.Module):
    r"""The feed-forward network of Vision-RWKV: squared ReLU and a gate, of mixtures of each token and shifted ones.

    .. math:: y = \sigma(W_r x^r) \odot W_v \operatorname{ReLU}(W_k x^k)^2, \qquad
        x^n = \mu_n x + (1 - \mu_n) \operatorname{shift}(x)

    Args:
        dim: embedding dimension D of the tokens.
        hidden_rate: hidden channels, as a multiple of D.
        shift, gamma, key_norm, init, place, size, class_tokens, device, dtype: as in `VRWKV`; the norm is that of
            the hidden channels.

    Shapes:
        input and output (B, T, D).

    Raises:
        InputError: an argument is out of range; in forward: the tokens are not the map.

    Reference:
        Duan et al., "Vision-RWKV", arXiv 2403.02308.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_rate: float = 4,
        shift: int = 1,
        gamma: float = 0.25,
        key_norm: bool = False,
        init: str = "fancy",
        place: tuple[int, int] = (0, 12),
        size: tuple[int, int] | None = None,
        class_tokens: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_at_least("dim", dim, 1)
        hidden = int(hidden_rate * dim)
        if hidden < 1:
            raise InputError(f"hidden_rate={hidden_rate} leaves no hidden channel of dim={dim}")
        self.dim, self.init, self.place = dim, init, _checked_place(dim, init, place)
        self.shift = FourSideShift(shift, gamma, size, class_tokens)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.key_mix, self.gate_mix = (nn.Parameter(torch.empty(dim, **where)) for _ in range(2))
        self.key = nn.Linear(dim, hidden, bias=False, **where)
        self.norm = nn.LayerNorm(hidden, **where) if key_norm else nn.Identity()
        self.value = nn.Linear(hidden, dim, bias=False, **where)
        self.gate = nn.Linear(dim, dim, bias=False, **where)
        self.reset_vectors()

    @torch.no_grad()
    def reset_vectors(self) -> None:
        """Set the mixture to its initial values."""
        key = _initial(self.dim, self.init, *self.place)[2]
        self.key_mix.copy_(key)
        self.gate_mix.copy_(key)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map (B, T, D) to (B, T, D), with the rows and columns of the map of tokens, if they are not settings."""
        shifted = self.shift(x, size)
        hidden = self.norm(self.key(torch.lerp(shifted, x, self.key_mix)).relu().square())
        return self.gate(torch.lerp(shifted, x, self.gate_mix)).sigmoid() * self.value(hidden)

    def extra_repr(self) -> str:
        """Return the width and what the shift shows."""
        return ", ".join(filter(None, [str(self.dim), settings_of(self.shift)]))


def _checked_place(dim: int, init: str, place: tuple[int, int]) -> tuple[int, int]:
    """Return the place of a layer in its network.

    Raises:
        InputError: it has no such initial values.
    """
    check_choice("init", init, WKV_STARTS)
    block, blocks = place
    if init == "fancy" and dim < 2:
        raise InputError(f"dim={dim} must be at least 2 for init='fancy', which differs by channel")
    if init == "fancy" and (blocks < 2 or not 0 <= block < blocks):
        raise InputError(f"place={place} must be the number of a block, from 0, and that of the blocks, at least 2")
    return place


def _initial(dim: int, init: str, block: int, blocks: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return initial decay, first, and mixtures of keys, values and gates, (D,) each."""
    ones = torch.ones(dim, dtype=torch.float64)
    if init == "local":
        return ones, ones, ones, ones, ones
    if init == "global":
        return 0 * ones, 0 * ones, ones / 2, ones / 2, ones / 2
    channel = torch.arange(dim, dtype=torch.float64)
    deep, shallow = block / (blocks - 1), 1 - block / blocks
    decay = -5 + 8 * (channel / (dim - 1)) ** (0.7 + 1.3 * deep)
    first = log(0.3) + 0.5 * ((channel + 1) % 3 - 1)
    key = (channel / dim) ** shallow
    return decay, first, key, key + 0.3 * deep, (channel / dim) ** (0.5 * shallow)
