"""Layers around a state that tokens write by the delta rule: read by the tokens themselves, or by those of an image."""

from math import exp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn._layer import TokenLayer
from convnn.nn._settings import unless_usual, written
from convnn.nn.tokens._layer import share_of_a_head
from convnn.ops import check_backend, scan

RANKS = (64, 64, 128)
"""Of decay, rate and gate."""
_SMALLEST = 1e-12  # length of a key
_LARGEST_DECAY = -exp(-0.5)


class LowRank(nn.Sequential):
    """Two linear layers of a low rank, the first without a bias, with an activation between them."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, activation: nn.Module, *, bias: bool = True, **where: Any
    ) -> None:
        check_at_least("rank", rank, 1)
        super().__init__(
            nn.Linear(inputs, rank, bias=False, **where), activation, nn.Linear(rank, outputs, bias=bias, **where)
        )


class DeltaWriter(nn.Module):
    r"""What a sequence writes into the state of each head, by the delta rule.

    .. math::
        w = -e^{-1/2} \, \sigma(B_w \tanh(A_w x_w) + c_w), \qquad \alpha = \sigma(B_a A_a x_a + c_a), \\
        v = W_v x_v, \qquad \kappa = \frac{W_k x_k \odot k_k}{\lVert W_k x_k \odot k_k \rVert}, \qquad
        k = W_k x_k \odot (1 + (\alpha - 1) \odot k_a)

    with :math:`x_n = x_t + \mu_n (x_{t-1} - x_t)`, and zeros before the first token. They are written by
    `convnn.ops.scan.delta_rule` with :math:`a = -\kappa, b = \alpha \kappa`.

    Args:
        inputs: width of the tokens.
        dim: width of keys and values, of all heads together.
        num_heads: number of heads.
        decay_rank, rate_rank: ranks of the layers of w and :math:`\alpha`.
        where: device and dtype of the weights.
    """

    def __init__(self, inputs: int, dim: int, num_heads: int, decay_rank: int, rate_rank: int, **where: Any) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.mix = nn.Parameter(torch.empty(4, inputs, **where))  # of decay, keys, values and rate
        self.key, self.value = (nn.Linear(inputs, dim, bias=False, **where) for _ in range(2))
        self.decay = LowRank(inputs, dim, decay_rank, nn.Tanh(), **where)
        self.rate = LowRank(inputs, dim, rate_rank, nn.Identity(), **where)
        self.removal, self.replacement = (nn.Parameter(torch.ones(dim, **where)) for _ in range(2))  # k_k, k_a

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return k, v, w, a, b (B, H, T, D) each, of tokens (B, T, C); the mask is 0 where nothing is written."""
        for_decay, for_key, for_value, for_rate = mixtures(x, self.mix)
        key, rate = self.key(for_key), self.rate(for_rate).sigmoid()
        value = self.value(for_value)
        if mask is not None:
            value = value * mask.unsqueeze(-1)
        removed = heads_of(key * self.removal, self.num_heads)
        removed = F.normalize(removed, dim=-1, eps=_SMALLEST)
        written = heads_of(key * (1 + (rate - 1) * self.replacement), self.num_heads)
        log_decay = heads_of(self.decay(for_decay).sigmoid(), self.num_heads) * _LARGEST_DECAY
        value, rate = heads_of(value, self.num_heads), heads_of(rate, self.num_heads)
        return written, value, log_decay, -removed, rate * removed


def mixtures(x: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
    """Mix each token of (B, T, C) with the one before it, zeros before the first, by each of the shares (N, C)."""
    before = F.pad(x, (0, 0, 1, -1)) if x.shape[1] else x
    return tuple(torch.lerp(x, before, share) for share in mix)


def heads_of(x: Tensor, num_heads: int) -> Tensor:
    """Split (B, T, H * D) into heads (B, H, T, D)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def normed_heads(norm: nn.GroupNorm, heads: Tensor) -> Tensor:
    """Normalise each head of (B, H, T, D), and join them, (B, T, H * D)."""
    joined = heads.transpose(1, 2).flatten(2)
    return norm(joined.flatten(0, 1)).view_as(joined)


@torch.no_grad()
def start(layer: nn.Module) -> None:
    """Initialise linear layers with gain 2^-2.5 and biases 0, and mixtures between 0 and 1/2, rising by channel."""
    for part in layer.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, gain=2**-2.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        mix = getattr(part, "mix", None)
        if isinstance(mix, nn.Parameter):
            mix.copy_(torch.linspace(0, 0.5, mix.shape[1]).expand_as(mix))


class RWKV7(TokenLayer):
    r"""Time mix of RWKV-7: every token writes into the state of each head by the delta rule, and reads it.

    .. math:: y_t = W_o \big( g_t \odot ( \operatorname{norm}(S_t r_t) + (r_t \odot k_t \cdot r_k) \, v_t ) \big), \quad
        r = W_r x_r, \qquad g = B_g \sigma(A_g x_g)

    with what `DeltaWriter` writes into the state S, and :math:`x_n = x_t + \mu_n (x_{t-1} - x_t)`. It is causal: no
    token sees later ones. It is the first layer of a stack, in which values are not mixed with those of another.

    Args:
        dim: embedding dimension D of the tokens.
        num_heads: number of heads, a divisor of dim.
        decay_rank, rate_rank, gate_rank: ranks of the layers of decay, rate and gate.
        eps: of the norm of each head, times the width of a head.
        backend: implementation of the scan: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, T, D) or (T, D).

    Raises:
        InputError: an argument is out of range; in forward: another width, or a mask of another shape or with padding
            on the right.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Peng et al., "RWKV-7", arXiv 2503.14456. Initial values that its code leaves open: mixtures from 0 to 1/2, ones
        for k_k and k_a, zeros for r_k.

    Example:
        >>> RWKV7(24, 3)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        decay_rank: int = RANKS[0],
        rate_rank: int = RANKS[1],
        gate_rank: int = RANKS[2],
        eps: float = 1e-5,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, num_heads)
        check_backend(backend)
        width = share_of_a_head(dim, num_heads)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.backend = backend
        self.writer = DeltaWriter(dim, dim, num_heads, decay_rank, rate_rank, **where)
        self.mix = nn.Parameter(torch.empty(2, dim, **where))  # of r and the gate
        self.reader = nn.Linear(dim, dim, bias=False, **where)
        self.gate = LowRank(dim, dim, gate_rank, nn.Sigmoid(), bias=False, **where)
        self.own = nn.Parameter(torch.zeros(num_heads, width, **where))
        self.norm = nn.GroupNorm(num_heads, dim, eps=eps * width, **where)
        self.output = nn.Linear(dim, dim, bias=False, **where)
        start(self)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to (B, T, D); the mask (B, T) is 0 for padding, which is on the left.

        Raises:
            InputError: the input or the mask is refused.
        """
        self.check_input(x)
        return self._mixed(x, mask) if x.dim() == 3 else self._mixed(x.unsqueeze(0), mask).squeeze(0)

    def _mixed(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mask = checked_mask("mask", mask, x)
        x = x if mask is None else x * mask.unsqueeze(-1)
        k, v, log_decay, a, b = self.writer(x, mask)
        for_reader, for_gate = mixtures(x, self.mix)
        r = heads_of(self.reader(for_reader), self.num_heads)
        read, _ = scan.delta_rule(r, k, v, log_decay, a, b, backend=self.backend)
        own = (r * k * self.own.unsqueeze(1)).sum(-1, keepdim=True) * v
        mixed = normed_heads(self.norm, read) + own.transpose(1, 2).flatten(2)
        return self.output(mixed * self.gate(for_gate))


class CrossWKV(nn.Module):
    r"""Linear cross-attention: a context is written into a state of each head by the delta rule, and tokens read it.

    .. math:: y_q = W_o \big( \operatorname{norm}(S \, W_r x_q) \odot B_g \sigma(A_g x_q) \big)

    with the state S after the whole context, of which `DeltaWriter` says what is written. Tokens have no order. Time
    grows with the number of tokens plus that of the context, and the state does not grow.

    Args:
        dim: embedding dimension D of the tokens.
        context_dim: that of the context.
        head_dim: width of a head, a divisor of dim.
        decay_rank, rate_rank, gate_rank: ranks of the layers of decay, rate and gate.
        eps: of the norm of each head, times the width of a head.
        backend: implementation of the scan: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, T, D), context (B, T', C), output (B, T, D).

    Raises:
        InputError: an argument is out of range; in forward: the shapes do not fit, or the mask has padding on the
            right.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        "CrossWKV", arXiv 2504.14260, of which there is no code; the recurrence and its parameters are those of RWKV-7,
        arXiv 2503.14456. That the state after the whole context is read, without a shift of the image and with its
        gate, is ours. Initial values are those of `RWKV7`.

    Example:
        >>> CrossWKV(24, 16, head_dim=8)(torch.randn(2, 9, 24), torch.randn(2, 5, 16)).shape
        torch.Size([2, 9, 24])
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        *,
        head_dim: int = 64,
        decay_rank: int = RANKS[0],
        rate_rank: int = RANKS[1],
        gate_rank: int = RANKS[2],
        eps: float = 1e-5,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_backend(backend)
        for name, size in {"dim": dim, "context_dim": context_dim, "head_dim": head_dim}.items():
            check_at_least(name, size, 1)
        if dim % head_dim:
            raise InputError(f"dim={dim} must be a multiple of head_dim={head_dim}")
        self.dim, self.context_dim, self.num_heads, self.backend = dim, context_dim, dim // head_dim, backend
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.writer = DeltaWriter(context_dim, dim, self.num_heads, decay_rank, rate_rank, **where)
        self.reader = nn.Linear(dim, dim, bias=False, **where)
        self.gate = LowRank(dim, dim, gate_rank, nn.Sigmoid(), bias=False, **where)
        self.norm = nn.GroupNorm(self.num_heads, dim, eps=eps * head_dim, **where)
        self.output = nn.Linear(dim, dim, bias=False, **where)
        start(self)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        context_mask: Tensor | None = None,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Read the state that the context leaves.

        Args:
            x: tokens (B, T, D).
            context: (B, T', C), also without a token.
            context_mask: (B, T'), 0 for padding, which is on the left.
            initial_state: (B, H, D / H, D / H) before the context; None is zeros.

        Returns:
            (B, T, D).

        Raises:
            InputError: the shapes do not fit, or the mask has padding on the right.
        """
        self._check(x, context)
        return self.read(x, self.state(context, context_mask, initial_state))

    def state(self, context: Tensor, context_mask: Tensor | None = None, initial_state: Tensor | None = None) -> Tensor:
        """Return the state (B, H, D / H, D / H) after a context (B, T', C), from which a next one may go on."""
        mask = checked_mask("context_mask", context_mask, context)
        context = context if mask is None else context * mask.unsqueeze(-1)
        k, v, log_decay, a, b = self.writer(context, mask)
        return scan.delta_rule(k, k, v, log_decay, a, b, initial_state, backend=self.backend)[1]

    def read(self, x: Tensor, state: Tensor) -> Tensor:
        """Return what tokens (B, T, D) read from a state."""
        read = heads_of(self.reader(x), self.num_heads) @ state.to(x.dtype).mT
        return self.output(normed_heads(self.norm, read) * self.gate(x))

    def _check(self, x: Tensor, context: Tensor) -> None:
        for name, one, width in (("input", x, self.dim), ("context", context, self.context_dim)):
            if one.dim() != 3 or one.shape[2] != width or not one.is_floating_point():
                raise InputError(
                    f"{name} of shape {tuple(one.shape)} and {one.dtype} must be floating and (B, T, {width})"
                )
        if x.shape[0] != context.shape[0]:
            raise InputError(f"context of batch {context.shape[0]} must have the batch {x.shape[0]} of the input")

    def extra_repr(self) -> str:
        """Return the widths, and the backend if it was named."""
        usual = unless_usual(backend=(self.backend, "auto"))
        widths = written(head_dim=self.dim // self.num_heads)
        return ", ".join(filter(None, [f"{self.dim}, {self.context_dim}", widths, usual]))


def checked_mask(argument: str, mask: Tensor | None, x: Tensor) -> Tensor | None:
    """Return the mask (B, T) of tokens (B, T, C) in their type.

    Raises:
        InputError: it has another shape, or padding on the right.
    """
    if mask is None:
        return None
    if mask.shape != x.shape[:2]:
        raise InputError(f"{argument} of shape {tuple(mask.shape)} must be {tuple(x.shape[:2])}, batch and tokens")
    if not torch.compiler.is_compiling() and bool((mask[:, 1:].bool() < mask[:, :-1].bool()).any()):
        raise InputError(f"{argument} must have its padding, zeros, on the left of all other tokens")
    return mask.to(x.dtype)
