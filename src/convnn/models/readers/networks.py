"""Readers as networks of the Trainer: they score all entities for the missing end of a triple or a statement."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least
from convnn.models._completion import KnowledgeNetwork
from convnn.models._registry import register_model
from convnn.models.readers.retrieve import Retriever
from convnn.models.readers.statements import SPECIALS, StatementReader, smoothed_cross_entropy, statement_loss
from convnn.models.readers.subgraphs import SubgraphReader, SubgraphTokens, subgraph_tokens
from convnn.models.readers.tokens import Neighbors, Vocabulary, qualifier_tokens
from convnn.nn.triples.queries import Queries
from convnn.ops.triples import RELATION

LayerMaker = Callable[..., nn.Module]


class Completion(KnowledgeNetwork):
    """A network that scores all entities for the missing end of a triple, by attention.

    Entities are N classes, relations R channels. It has attention of its own, and no use for another layer.
    """

    default_layer: ClassVar[str] = "Attention"
    built_of: ClassVar[tuple[str, ...] | None] = ("Attention",)

    def learn(self, asked: Queries, smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the mean loss of queries, whose answer they hold, and the scores (B, N) of all entities.

        Args:
            asked: B queries.
            smoothing: share of the label that goes to all classes, at least 0 and below 1.
        """
        raise NotImplementedError


class StatementCompletion(Completion):
    """A `convnn.tasks.knowledge.StatementReader` on queries with qualifiers or without.

    Args:
        layer: not read; the network has attention of its own.
        in_channels: number of relations, R.
        num_classes: number of entities, N.
        width: factor on d_hidden and d_mlp.
        d_hidden: channels d; the board on which vectors interact is as square as they allow.
        num_layers, num_heads: blocks of attention, and their heads, which divide d.
        d_mlp: channels within a block.
        mlp_experts: networks in each block of which a token goes through the best `top_experts`; 0 for one network.
        top_experts: see there.
        board_channels, board_kernel: filters on the board, and their side, odd.
        neighbor_statements: statements about the known entity that are read beside each in training; 0: none, nor the
            qualifiers on their own.
        dropout: probability in the blocks.

    Raises:
        InputError: an argument is out of range.

    Reference:
        HyperFormer, arXiv 2308.06512, which has 400 channels, 8 layers and 64 experts.
    """

    def __init__(
        self,
        layer: LayerMaker,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        d_mlp: int = 128,
        mlp_experts: int = 0,
        top_experts: int = 2,
        board_channels: int = 16,
        board_kernel: int = 3,
        neighbor_statements: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("neighbor_statements", neighbor_statements, 0)
        self.neighbors, self.vocabulary = neighbor_statements, Vocabulary(num_classes)
        self.reader = StatementReader(
            num_classes,
            in_channels,
            shape=board_shape(self.scaled(d_hidden)),
            heads=num_heads,
            layers=num_layers,
            hidden=self.scaled(d_mlp),
            experts=mlp_experts,
            top_k=top_experts,
            channels=board_channels,
            kernel=board_kernel,
            dropout=dropout,
        )
        self._around: Neighbors | None = None

    def score_all(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for, by the statement alone."""
        return self.reader.score(self.vocabulary.statements(asked))

    def learn(self, asked: Queries, smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the mean loss of queries, with that of what neighbours state, and the scores (B, N) of all entities.

        Args:
            asked: B queries.
            smoothing: share of the label that goes to all other tokens of the vocabulary, at least 0 and below 1.
        """
        ids, entities = self.vocabulary.statements(asked), slice(SPECIALS, SPECIALS + self.num_classes)
        if not self.neighbors or asked.facts is None:
            logits = self.reader.read(ids)
            return smoothed_cross_entropy(logits, asked.wanted + SPECIALS, smoothing), logits[:, entities]
        if self._around is None or self._around.facts is not asked.facts:
            self._around = Neighbors(asked.facts, self.vocabulary)
        found = self.reader(ids, self._around.draw(ids[:, 0], self.neighbors), qualifier_tokens(ids))
        return statement_loss(found, asked.wanted, asked.known, smoothing), found.statement[:, entities]


class SubgraphCompletion(Completion):
    """A `convnn.tasks.knowledge.SubgraphReader` on subgraphs that are drawn around the known entity of each query.

    Of each entity no triple is drawn twice. In training the triple that is asked for is left out of its own subgraph;
    in evaluation each entity has one subgraph, whoever asks. Without facts in the queries there is only the entity.

    Args:
        layer: not read; the network has attention of its own.
        in_channels: number of relations, R; each is asked for in two directions.
        num_classes: number of entities, N.
        width: factor on d_hidden and d_mlp.
        d_hidden: channels d.
        num_layers, num_heads: blocks for the tokens and for the query, and their heads, which divide d.
        d_mlp: channels within a block.
        cross_layers: blocks in which the query attends to the tokens.
        subgraph_size: most triples in a subgraph.
        subgraph_draws: most triples that are drawn of an entity.
        dropout: probability on the embeddings that go in.

    Raises:
        InputError: an argument is out of range.

    Reference:
        KG-R3, arXiv 2212.09724, which has 320 channels, 8 heads and 3 layers each.
    """

    def __init__(
        self,
        layer: LayerMaker,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        d_mlp: int = 128,
        cross_layers: int = 1,
        subgraph_size: int = 12,
        subgraph_draws: int = 6,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("subgraph_size", subgraph_size, 1)
        check_at_least("subgraph_draws", subgraph_draws, 1)
        self.size, self.draws = subgraph_size, subgraph_draws
        self.reader = SubgraphReader(
            num_classes,
            2 * in_channels,
            dim=self.scaled(d_hidden),
            heads=num_heads,
            layers=num_layers,
            intermediate=self.scaled(d_mlp),
            cross_layers=cross_layers,
            dropout=0.0,
            input_dropout=dropout,
            output_dropout=0.0,
        )
        self._trees: Trees | None = None

    def score_all(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for."""
        return self._read(asked)[:, : self.num_classes]

    def learn(self, asked: Queries, smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the mean loss of queries, and the scores (B, N) of all entities.

        Args:
            asked: B queries, whose triples are left out of their subgraphs.
            smoothing: share of the label that goes to all entities and padding, at least 0 and below 1.
        """
        logits = self._read(asked)
        loss = F.cross_entropy(logits, asked.wanted, label_smoothing=smoothing)
        return loss, logits[:, : self.num_classes]

    def _read(self, asked: Queries) -> Tensor:
        relation = asked.triples[:, RELATION] + self.in_channels * ~asked.of_tail
        logits: Tensor = self.reader(self._tokens(asked), asked.known, relation)
        return logits

    def _tokens(self, asked: Queries) -> SubgraphTokens:
        """Return the tokens of the subgraph of each query."""
        triples, known = asked.triples.cpu(), asked.known.cpu()
        edges = [triples[:0]] * len(known)
        if asked.facts is not None:
            if self._trees is None or self._trees.facts is not asked.facts:
                self._trees = Trees(asked.facts, self.num_classes, self.size, self.draws)
            find = self._trees.without if self.training else self._trees.of
            edges = [find(center, triple) for center, triple in zip(known.tolist(), triples, strict=True)]
        ids, is_relation, mask, _ = subgraph_tokens(edges, known, self.num_classes, 2 * self.in_channels)
        device = asked.triples.device
        return SubgraphTokens(ids.to(device), is_relation.to(device), mask.to(device))


class Trees:
    """The subgraphs of entities.

    Args:
        facts: (n, 3 + 2 m) int64, the triples of which they are.
        num_entities: number of entities.
        size: most triples of each.
        draws: most triples that are drawn of an entity.
    """

    def __init__(self, facts: Tensor, num_entities: int, size: int, draws: int) -> None:
        self.facts, self._about = facts, (size, draws)
        self._retriever = Retriever(facts[:, :3].cpu(), num_entities, replace=False)
        self._found: dict[int, Tensor] = {}

    def without(self, center: int, triple: Tensor) -> Tensor:
        """Draw a subgraph (E, 3) by torch's generator, and leave out a triple."""
        edges = self._drawn(center)
        return edges[(edges != triple).any(1)]

    def of(self, center: int, triple: Tensor) -> Tensor:
        """Return the subgraph (E, 3) of an entity, which is always the same; the triple is not read."""
        if center not in self._found:
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(center)
                self._found[center] = self._drawn(center)
        return self._found[center]

    def _drawn(self, center: int) -> Tensor:
        return self._retriever.triples[self._retriever.bfs(center, *self._about)]


def board_shape(channels: int) -> tuple[int, int]:
    """Return the two factors of a number of channels that are nearest to each other, the smaller first."""
    width = next(side for side in range(math.isqrt(channels), 0, -1) if channels % side == 0)
    return width, channels // width


@register_model(StatementCompletion)
def statement_reader(layer: LayerMaker, **settings: Any) -> StatementCompletion:
    """Attention to a triple and its qualifiers, which learns beside what neighbours state."""
    return StatementCompletion(layer, **settings)


@register_model(SubgraphCompletion)
def subgraph_reader(layer: LayerMaker, **settings: Any) -> SubgraphCompletion:
    """Attention to a subgraph around the known entity, which follows its edges."""
    return SubgraphCompletion(layer, **settings)
