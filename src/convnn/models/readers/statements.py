"""Completion of statements: triples with qualifiers, read beside what neighbours state and what qualifiers say."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice, check_fraction, check_rate
from convnn.models.readers.chequered import ChequeredInteraction
from convnn.models.readers.experts import TopKExperts

PAD, MASK, SPECIALS = 0, 1, 7
"""Numbers of padding and of what is missing, and of all special tokens, which come before entities and relations."""
AT_MASK = 2
"""The place of what is missing in a statement: head, relation, missing, and then qualifiers in pairs."""


def complex_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of complex numbers, of which each half of the channels has a part."""
    (real, imaginary), (other_real, other_imaginary) = a.chunk(2, dim=-1), b.chunk(2, dim=-1)
    return torch.cat(
        [real * other_real - imaginary * other_imaginary, real * other_imaginary + imaginary * other_real], dim=-1
    )


JOINED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda a, b: a * b,
    "sum": lambda a, b: a + b,
    "complex": complex_product,
}
"""How the relation and the entity of a qualifier are joined."""


class StatementLogits(NamedTuple):
    """Scores of the whole vocabulary for what is missing.

    Attributes:
        statement: (B, V), of the statement itself, by which entities are ranked.
        mixed: (B, V), with what neighbours and qualifiers say.
        neighbors: (k, B, V), of the statements of neighbours, whose missing end is the head.
    """

    statement: Tensor
    mixed: Tensor
    neighbors: Tensor


class Block(nn.Module):
    """Attention and a feed-forward network or experts, each after normalisation and added to its input."""

    def __init__(self, dim: int, heads: int, hidden: int, experts: int, k: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.feed: nn.Module = (
            TopKExperts(dim, max(1, hidden // k), experts, k)
            if experts
            else nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Map tokens (B, T, d), of which padding (B, T) is not attended."""
        z = self.norm1(x)
        x = x + self.dropout(self.attention(z, z, z, key_padding_mask=padding, need_weights=False)[0])
        fed: Tensor = x + self.dropout(self.feed(self.norm2(x)))
        return fed


class StatementReader(nn.Module):
    r"""Complete a statement from its tokens, and learn from the statements of neighbours and the qualifiers beside it.

    The tokens [head, relation, MASK, qualifiers] go through attention; what the mask becomes scores the vocabulary. So
    do k statements about the head whose missing end it is. The mean of what they become, the relation and the mean of
    the joined qualifiers change each other in pairs (`ChequeredInteraction`), and head and relation, mixed with what
    comes out, are read once more. Both only help to learn: entities are ranked by the statement itself (`score`).

    Args:
        num_entities: N.
        num_relations: R; each has a reverse, so that the vocabulary is 7 + N + 2 R.
        shape: width and height whose product is d.
        heads, layers, hidden: of the attention; heads divide d.
        experts: number of experts in each feed-forward network, 0 for one network.
        top_k: experts for each token.
        channels, kernel, boards: of `ChequeredInteraction`.
        joined: how relation and entity of a qualifier are joined: "product", "sum" or "complex".
        dropout: probability in the blocks.
        mask_padding: padding is not attended anywhere; as published, only in the statement itself (False).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Hu et al., "HyperFormer: Enhancing Entity and Relation Interaction for Hyper-Relational Knowledge Graph
        Completion", arXiv 2308.06512.
    """

    def __init__(
        self,
        num_entities: int,
        num_relations: int,
        *,
        shape: tuple[int, int] = (20, 20),
        heads: int = 2,
        layers: int = 8,
        hidden: int = 2048,
        experts: int = 64,
        top_k: int = 2,
        channels: int = 96,
        kernel: int = 9,
        boards: int = 1,
        joined: str = "product",
        dropout: float = 0.1,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("num_entities", num_entities, 1)
        check_at_least("num_relations", num_relations, 1)
        check_at_least("layers", layers, 1)
        check_at_least("heads", heads, 1)
        check_choice("joined", joined, JOINED)
        check_fraction("dropout", dropout)
        dim = shape[0] * shape[1]
        if dim % heads:
            raise InputError(f"heads={heads} must divide {dim}, the fields of shape={shape}")
        if joined == "complex" and dim % 2:
            raise InputError(f"joined='complex' needs an even number of channels; shape={shape} has {dim}")
        self.num_entities, self.vocabulary = num_entities, SPECIALS + num_entities + 2 * num_relations
        self.joined, self.mask_padding = joined, mask_padding
        self.table = nn.Parameter(torch.empty(self.vocabulary, dim).uniform_(-0.02, 0.02))
        self.norm, self.last_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, experts, top_k, dropout) for _ in range(layers))
        self.interaction = ChequeredInteraction(shape, channels=channels, kernel=kernel, boards=boards)
        self.fuse = nn.Linear(dim, dim)

    def forward(self, ids: Tensor, contexts: Tensor, qualifiers: Tensor) -> StatementLogits:
        """Return the scores of the whole vocabulary for what is missing.

        Args:
            ids: (B, 3 + 2 m) int64: head, relation, MASK, and m qualifiers of a relation and an entity each, or PAD.
            contexts: (k, B, 3 + 2 e) int64, statements whose missing end is the head.
            qualifiers: (m, B, 3) int64: relation, entity and MASK.

        Raises:
            InputError: a shape is wrong, or a token is not in the vocabulary.
        """
        self._check(ids, contexts, qualifiers)
        x = self._normalised()
        read = self._read(x[ids], ids == PAD)
        around = torch.stack([self._read(x[one], self._padding(one))[:, AT_MASK] for one in contexts])
        said = JOINED[self.joined](x[qualifiers[..., 0]], x[qualifiers[..., 1]]).mean(0)
        of_head, of_relation = self._mixed(around.mean(0), read[:, 1], said)
        tokens = x[ids]
        mixed = torch.cat(
            [(tokens[:, :1] + of_head[:, None]) / 2, (tokens[:, 1:2] + of_relation[:, None]) / 2, tokens[:, 2:]], dim=1
        )
        again = self._read(mixed, self._padding(ids))
        return StatementLogits(*(z @ self.table.T for z in (read[:, AT_MASK], again[:, AT_MASK], around)))

    def score(self, ids: Tensor) -> Tensor:
        """Return the scores (B, N) of all entities for what is missing in statements (B, 3 + 2 m), by those alone.

        Raises:
            InputError: a shape is wrong, or a token is not in the vocabulary.
        """
        return self.read(ids)[:, SPECIALS : SPECIALS + self.num_entities]

    def read(self, ids: Tensor) -> Tensor:
        """Return the scores of the whole vocabulary (B, V) for what is missing in statements, by those alone.

        Raises:
            InputError: a shape is wrong, or a token is not in the vocabulary.
        """
        self._check(ids)
        read = self._read(self._normalised()[ids], ids == PAD)
        return read[:, AT_MASK] @ self.table.T

    def _normalised(self) -> Tensor:
        return torch.cat([self.table[:SPECIALS], self.norm(self.table)[SPECIALS:]])

    def _padding(self, ids: Tensor) -> Tensor | None:
        return ids == PAD if self.mask_padding else None

    def _read(self, x: Tensor, padding: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, padding)
        out: Tensor = self.last_norm(x)
        return out

    def _mixed(self, around: Tensor, relation: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is to be mixed into the head, and into the relation."""
        head_by_relation, _ = self.interaction(around, relation)
        head_by_said, said_by_head = self.interaction(around, said)
        _, said_by_relation = self.interaction(relation, said)
        return self._fused(head_by_relation, head_by_said), self._fused(said_by_head, said_by_relation)

    def _fused(self, a: Tensor, b: Tensor) -> Tensor:
        share = (self.fuse(a) + self.fuse(b)).sigmoid()
        return share * a + (1 - share) * b

    def _check(self, ids: Tensor, contexts: Tensor | None = None, qualifiers: Tensor | None = None) -> None:
        """Refuse tokens that are none of a batch of statements."""
        given = [("ids", ids, 2), ("contexts", contexts, 3), ("qualifiers", qualifiers, 3)]
        for name, tokens, axes in given:
            if tokens is None:
                continue
            if tokens.dim() != axes or tokens.shape[-1] < 3 or tokens.shape[-1] % 2 == 0 or not tokens.numel():
                raise InputError(
                    f"{name} of shape {tuple(tokens.shape)} must end in 3 tokens and pairs, of a"
                    " qualifier each, and have at least one of all"
                )
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocabulary:
                raise InputError(f"{name} has tokens beyond the vocabulary, 0 to {self.vocabulary - 1}")
            if tokens.shape[-2] != ids.shape[0]:
                raise InputError(f"{name} of shape {tuple(tokens.shape)} must have {ids.shape[0]} statements, as ids")


def smoothed_cross_entropy(logits: Tensor, label: Tensor, smoothing: float) -> Tensor:
    r"""Return the cross-entropy with 1 - s on the label and s / (V - 1) on each other class, the mean over the rows.

    PyTorch's spreads s over all classes, the label among them.

    Args:
        logits: (B, V).
        label: (B,) int64.
        smoothing: s, at least 0 and below 1.

    Raises:
        InputError: the smoothing is out of range.
    """
    check_rate("smoothing", smoothing)
    logs = logits.log_softmax(1)
    own = logs.gather(1, label[:, None])[:, 0]
    others = (logs.sum(1) - own) / (logits.shape[1] - 1)
    return -((1 - smoothing) * own + smoothing * others).mean()


def statement_loss(logits: StatementLogits, label: Tensor, neighbor_label: Tensor, smoothing: float = 0.9) -> Tensor:
    """Return the loss of what is missing, by the statement and mixed, and half of that of the neighbours' statements.

    Args:
        logits: those of `StatementReader`.
        label: (B,) int64, the missing entity, from 0.
        neighbor_label: (B,) int64, the head, or what stands first, which neighbours' statements miss.
        smoothing: as in `smoothed_cross_entropy`; 0.9 as published.

    Raises:
        InputError: the smoothing is out of range.
    """
    around = [smoothed_cross_entropy(one, neighbor_label + SPECIALS, smoothing) for one in logits.neighbors]
    own = [smoothed_cross_entropy(one, label + SPECIALS, smoothing) for one in (logits.statement, logits.mixed)]
    return own[0] + own[1] + torch.stack(around).mean() / 2
