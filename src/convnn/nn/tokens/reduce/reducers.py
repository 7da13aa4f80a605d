"""Reducers: who stays, how much those that leave pass on, and how it is added."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.tokens.reduce.graph import TOKEN_GRAPHS, among, passed_on, rows_of, shares, token_graph, tokens_at
from convnn.nn.tokens.reduce.importance import OVER_HEADS, TOKEN_SCORES, importance, without_small
from convnn.ops import Neighbors, select


class Tokens(NamedTuple):
    """The tokens between two blocks, and what is carried with them.

    Attributes:
        x: (B, T, D), tokens of the class and the like before the n that stand for patches.
        places: (B, n) int64, which patch of the image each of these was; -1 for an average.
        graph: neighbours among the n; None where none is needed.
        scales: (B, T), by whose logarithm attention favours each token, as if there were so many of it; None: equally.
        kept: (B, k) int64, which of the patches before the last block stayed in it; None: all of them.
        leaving: (B, n - k) int64, which of them left; None: none.
    """

    x: Tensor
    places: Tensor
    graph: Neighbors | None = None
    scales: Tensor | None = None
    kept: Tensor | None = None
    leaving: Tensor | None = None

    @property
    def first(self) -> int:
        """Number of tokens before the patches."""
        return self.x.shape[1] - self.places.shape[1]


@dataclass(frozen=True)
class Dropping:
    """Tokens that leave are lost: the baseline of all reducers.

    Attributes:
        score: by which attention patches are kept, see `importance`.
        over_heads: "max" or "mean".
        sparsity: share of the attention of each head that is not set to 0, in blocks in which tokens leave.

    Raises:
        InputError: an argument is unknown or out of range.
    """

    score: str = "mixed"
    over_heads: str = "max"
    sparsity: float = 1.0
    adds: ClassVar[int] = 0
    """How many new tokens come from those that leave."""

    def __post_init__(self) -> None:
        check_choice("score", self.score, TOKEN_SCORES)
        check_choice("over_heads", self.over_heads, tuple(OVER_HEADS))
        without_small(torch.zeros(1, 1, 1, 1), self.sparsity)

    def start(self, x: Tensor, first: int, size: tuple[int, int]) -> Tokens:
        """Return the tokens before the first block, x (B, T, D), of which `first` are no patches."""
        patches = torch.arange(x.shape[1] - first, device=x.device)
        return Tokens(x, patches.expand(x.shape[0], -1))

    def select(self, attention: Tensor, first: int, leaving: int) -> tuple[Tensor, Tensor]:
        """Return which patches stay, (B, n - leaving), and which leave, both in descending order of score."""
        scores = importance(attention, first, self.score, self.over_heads)
        order = select.highest(scores, scores.shape[1])
        staying = scores.shape[1] - leaving
        return order[:, :staying], order[:, staying:]

    def reduce(self, tokens: Tokens, kept: Tensor, leaving: Tensor) -> Tokens:
        """Return the tokens without those that leave."""
        patches = tokens.x[:, tokens.first :]
        return tokens._replace(
            x=torch.cat([tokens.x[:, : tokens.first], tokens_at(patches, kept)], dim=1),
            places=tokens.places.gather(1, kept),
            kept=kept,
            leaving=leaving,
        )


@dataclass(frozen=True)
class Averaging(Dropping):
    """Tokens that leave are replaced by one, their mean, which comes last and may leave later."""

    adds: ClassVar[int] = 1

    def reduce(self, tokens: Tokens, kept: Tensor, leaving: Tensor) -> Tokens:
        """Return the tokens that stay and the mean of the others."""
        mean = tokens_at(tokens.x[:, tokens.first :], leaving).mean(1, keepdim=True)
        stay = super().reduce(tokens, kept, leaving)
        places = torch.cat([stay.places, stay.places.new_full((stay.places.shape[0], 1), -1)], dim=1)
        return stay._replace(x=torch.cat([stay.x, mean], dim=1), places=places)


@dataclass(frozen=True)
class Propagation(Dropping):
    r"""Tokens that leave pass on their features to those of their neighbours that stay.

    .. math:: x_k \leftarrow x_k + \alpha \sum_{p \text{ leaves}} W_{kp} x_p, \qquad
        s_k \leftarrow s_k + \alpha \sum_{p \text{ leaves}} W_{kp} s_p

    with the graph W of the tokens before the first block (`token_graph`), of which the part between the tokens that
    stay is carried on, and scales s, 1 at first, whose logarithms are added to the scores of attention.

    Attributes:
        graph: "spatial", "semantic" or "mixed".
        K: number of neighbours by features.
        alpha: share that is passed on, at least 0.
        scales: whether attention favours tokens that have received others.

    Raises:
        InputError: an argument is unknown or out of range.

    Reference:
        Xu et al., "GTP-ViT: Efficient Vision Transformers via Graph-based Token Propagation", arXiv 2311.03035.
    """

    graph: str = "mixed"
    K: int = 8
    alpha: float = 0.1
    scales: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("graph", self.graph, TOKEN_GRAPHS)
        check_at_least("K", self.K, 1)
        if not self.alpha >= 0:
            raise InputError(f"alpha={self.alpha} must not be negative")

    def start(self, x: Tensor, first: int, size: tuple[int, int]) -> Tokens:
        """Return the tokens before the first block, with their graph and scales."""
        graph = token_graph(x[:, first:], size, self.graph, self.K)
        scales = torch.ones_like(x[..., 0]) if self.scales else None
        return super().start(x, first, size)._replace(graph=graph, scales=scales)

    def reduce(self, tokens: Tokens, kept: Tensor, leaving: Tensor) -> Tokens:
        """Return the tokens that stay, with what the others pass on."""
        assert tokens.graph is not None
        first, length, rows = tokens.first, tokens.places.shape[1], rows_of(tokens.graph, kept)
        weights = self.alpha * shares(rows, leaving, length)

        def reduced(x: Tensor) -> Tensor:
            return torch.cat([x[:, :first], passed_on(x[:, first:], kept, leaving, weights)], dim=1)

        scales = None if tokens.scales is None else reduced(tokens.scales.unsqueeze(2)).squeeze(2)
        graph = among(rows, kept, length)
        return Tokens(reduced(tokens.x), tokens.places.gather(1, kept), graph, scales, kept, leaving)


REDUCERS = {"gtp": Propagation, "drop": Dropping, "mean": Averaging}
