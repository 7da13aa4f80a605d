"""Blocks that mix tokens, which patches are: by an MLP over them, or by attention that may know the coarse graph."""

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_choice, check_fraction

ATTENTIONS = ("standard", "hadamard", "graph", "kernel", "additive")
MIXINGS = ("mlp", *ATTENTIONS)
NEED_ADJACENCY = ("hadamard", "graph", "kernel", "additive")


class TokenMLP(nn.Module):
    r"""MLPs over the tokens and over the channels, each after a norm and with a shortcut (MLP-Mixer).

    .. math:: u = t + (W_2 \operatorname{GELU}(W_1 \operatorname{norm}(t)^\top))^\top, \qquad
        z = u + W_4 \operatorname{GELU}(W_3 \operatorname{norm}(u))

    with 4 C hidden units over the tokens, and C / 2 over the channels. Empty patches take part.

    Args:
        channels: C.
        tokens: number of tokens P.
        dropout: probability within and after each MLP, 0 to 1.
    """

    def __init__(self, channels: int, tokens: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.token_norm, self.channel_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.over_tokens = _mlp(tokens, 4 * channels, nn.GELU(), dropout)
        self.over_channels = _mlp(channels, channels // 2, nn.GELU(), dropout)

    def forward(self, x: Tensor, mask: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Map (B, P, C) to (B, P, C); neither the mask nor the coarse graph is read."""
        x = x + self.over_tokens(self.token_norm(x).mT).mT
        return x + self.over_channels(self.channel_norm(x))


class PatchAttention(nn.Module):
    r"""Attention to the patches that are not empty, by scores and, but for "standard", the coarse graph.

    With :math:`L = q k^\top / \sqrt{d}` the weights are softmax(L) for "standard";
    :math:`\operatorname{softmax}(L) \odot A` for "hadamard", without dividing by the sum again;
    :math:`A \odot e^{L - \max L} / \sum` for "graph" and "kernel", the second with the A of a walk
    (`coarse_adjacency`), the sum at least 1e-6; and :math:`\operatorname{softmax}(L + b_h A + c_h)` for "additive",
    with learned b and c.

    Args:
        channels: number of channels.
        heads: number of heads, a divisor.
        kind: one of `ATTENTIONS`.
        dropout: probability of dropping a weight, 0 to 1.

    Raises:
        InputError: an argument is out of range; in forward: there is no coarse graph.
    """

    def __init__(self, channels: int, heads: int, kind: str, dropout: float = 0.0) -> None:
        super().__init__()
        check_choice("mixing", kind, ATTENTIONS)
        check_fraction("dropout", dropout)
        if channels % heads:
            raise InputError(f"hidden={channels} must be a multiple of heads={heads}")
        self.heads, self.kind, self.dropout = heads, kind, dropout
        self.query, self.key, self.value, self.output = (nn.Linear(channels, channels) for _ in range(4))
        self.by_adjacency = nn.Linear(1, heads) if kind == "additive" else None
        for linear in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(linear.weight, gain=2**-0.5)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, mask: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Map (B, P, C) with mask (B, P), and adjacency (B, P, P), to (B, P, C)."""
        if adjacency is None and self.kind in NEED_ADJACENCY:
            raise InputError(f"adjacency=None must be the coarse graph of the patches for mixing={self.kind!r}")
        queries, keys, values = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in (self.query, self.key, self.value)
        )
        scores = queries @ keys.mT * keys.shape[-1] ** -0.5
        if self.by_adjacency is not None and adjacency is not None:
            scores = scores + self.by_adjacency(adjacency.unsqueeze(-1)).movedim(-1, 1)
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        weights = F.dropout(self._weights(scores, adjacency), self.dropout, self.training)
        return self.output((weights @ values).transpose(1, 2).flatten(2))

    def _weights(self, scores: Tensor, adjacency: Tensor | None) -> Tensor:
        if self.kind in ("graph", "kernel") and adjacency is not None:
            near = adjacency.unsqueeze(1) * (scores - scores.amax(-1, keepdim=True)).exp()
            return near / near.sum(-1, keepdim=True).clamp(min=1e-6)
        weights = scores.softmax(-1)
        return weights * adjacency.unsqueeze(1) if self.kind == "hadamard" and adjacency is not None else weights


class AttentionBlock(nn.Module):
    r"""`PatchAttention` and an MLP of 2 C hidden units with ReLU, each after a norm and with a shortcut.

    Args:
        channels: C.
        heads: number of heads.
        kind: one of `ATTENTIONS`.
        dropout: probability within the attention and the MLP, and after each, 0 to 1.
    """

    def __init__(self, channels: int, heads: int, kind: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = PatchAttention(channels, heads, kind, dropout)
        self.mlp = _mlp(channels, 2 * channels, nn.ReLU(), dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Map (B, P, C) to (B, P, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, adjacency))
        return x + self.mlp(self.mlp_norm(x))


def make_mixing(kind: str, channels: int, tokens: int, heads: int, dropout: float) -> nn.Module:
    """Create a block by its name, one of `MIXINGS`.

    Raises:
        InputError: an argument is out of range.
    """
    check_choice("mixing", kind, MIXINGS)
    if kind == "mlp":
        return TokenMLP(channels, tokens, dropout)
    return AttentionBlock(channels, heads, kind, dropout)


def _mlp(channels: int, hidden: int, activation: nn.Module, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden),
        activation,
        nn.Dropout(dropout),
        nn.Linear(hidden, channels),
        nn.Dropout(dropout),
    )
