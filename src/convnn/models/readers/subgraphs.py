"""Completion of triples by reading a subgraph, whose entities and relations are tokens and its graph a mask."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.ops.triples import check_triples

BLOCKED = -10000.0
"""What published code adds to the scores of pairs that may not attend, so that a row of them attends to all."""
EPS = 1e-12


class SubgraphTokens(NamedTuple):
    """The tokens of a batch of subgraphs: a block of entities, the asked one first, and a block of relations.

    Attributes:
        ids: (B, T) int64, entities and relations; padding has the number of entities, or of relations.
        is_relation: (B, T) bool.
        mask: (B, T, T) bool, which token may attend to which; all False for padding.
        segments: (B, T) int64, a segment of each token, or None.
    """

    ids: Tensor
    is_relation: Tensor
    mask: Tensor
    segments: Tensor | None = None

    @property
    def is_padding(self) -> Tensor:
        """Which tokens (B, T) are padding."""
        return ~self.mask.diagonal(dim1=1, dim2=2)


def subgraph_tokens(
    edges: Sequence[Tensor], centers: Tensor, num_nodes: int, num_relations: int, *, graph: bool = True
) -> SubgraphTokens:
    """Return the tokens of subgraphs: each entity once, and each edge as its relation.

    All entities attend to each other, all relations do, and a relation and the two ends of its edge.

    Args:
        edges: (E, 3) int64 for each subgraph: head, relation and tail; E may be 0.
        centers: (B,) int64, the entity around which each was drawn.
        num_nodes: number of entities.
        num_relations: number of relations.
        graph: False lets every token attend to all.

    Raises:
        InputError: shapes are wrong, or an entity or relation does not exist.
    """
    if len(edges) != centers.shape[0] or not len(edges):
        raise InputError(f"edges has {len(edges)} subgraphs and centers {centers.shape[0]} entities; both must be B")
    for some in edges:
        _check_edges(some, num_nodes, num_relations)
    if not 0 <= int(centers.min()) <= int(centers.max()) < num_nodes:
        raise InputError(f"centers={centers.tolist()} must lie between 0 and {num_nodes - 1}")
    entities = [_entities(some, int(center)) for some, center in zip(edges, centers, strict=True)]
    width = max(len(found) for found in entities)
    total = width + max(some.shape[0] for some in edges)
    ids = torch.full((len(edges), total), num_nodes)
    ids[:, width:] = num_relations
    mask = torch.zeros(len(edges), total, total, dtype=torch.bool)
    for row, (some, found) in enumerate(zip(edges, entities, strict=True)):
        ids[row, : len(found)] = torch.tensor(found)
        ids[row, width : width + some.shape[0]] = some[:, 1]
        _open(mask[row], some, found, width, graph=graph)
    is_relation = (torch.arange(total) >= width).expand(len(edges), total)
    return SubgraphTokens(ids, is_relation, mask)


def _entities(edges: Tensor, center: int) -> list[int]:
    return [center, *sorted(set(edges[:, [0, 2]].flatten().tolist()) - {center})]


def _open(mask: Tensor, edges: Tensor, entities: list[int], width: int, *, graph: bool) -> None:
    """Let the tokens of one subgraph attend to each other."""
    places = {entity: place for place, entity in enumerate(entities)}
    of_entities, of_relations = slice(len(entities)), slice(width, width + edges.shape[0])
    mask[of_entities, of_entities] = True
    mask[of_relations, of_relations] = True
    for number, (head, _, tail) in enumerate(edges.tolist()):
        ends = of_entities if not graph else [places[head], places[tail]]
        mask[width + number, ends] = True
        mask[ends, width + number] = True


class SubgraphReader(nn.Module):
    r"""Score all entities as the missing end of a triple, from the subgraph around its other end.

    Blocks of attention read the tokens within their mask, others the query [CLS, entity, relation], and then the query
    attends to the tokens; with :math:`z = W [q_0 ; s_0] + b` the scores are :math:`z E^\top`, of all entities and of
    padding, which has an embedding too.

    Args:
        num_nodes: number of entities, N.
        num_relations: number of relations, with inverse ones where those are asked.
        dim: d.
        heads: number of heads, which divides d.
        layers: number of blocks for the tokens.
        query_layers: number of blocks for the query; None: as many.
        intermediate: channels within blocks.
        cross_layers: number of blocks in which the query attends to the tokens; 0 leaves them out.
        cross_heads: their number of heads; None: as the others.
        segments: number of segments of tokens; 0: none.
        dropout: probability within blocks.
        input_dropout: probability on the embeddings that go in.
        output_dropout: probability on the query before it attends to the tokens, and on the embeddings by which it
            scores; None: as input_dropout, as published. The scores learn to copy an entity much sooner without it.
        mask_padding: the query does not attend to padding, so that it does not depend on the others of its batch. As
            published, it does (False).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Pahuja et al., arXiv 2212.09724.
    """

    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        *,
        dim: int = 320,
        heads: int = 8,
        layers: int = 3,
        query_layers: int | None = None,
        intermediate: int = 1280,
        cross_layers: int = 3,
        cross_heads: int | None = None,
        segments: int = 0,
        dropout: float = 0.1,
        input_dropout: float = 0.6,
        output_dropout: float | None = None,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        cross_heads = heads if cross_heads is None else cross_heads
        for name, value in (("num_nodes", num_nodes), ("num_relations", num_relations), ("dim", dim), ("heads", heads)):
            check_at_least(name, value, 1)
        for name, value in (("heads", heads), ("cross_heads", cross_heads)):
            if dim % value:
                raise InputError(f"{name}={value} must divide dim={dim}")
        check_fraction("dropout", dropout)
        check_fraction("input_dropout", input_dropout)
        output_dropout = input_dropout if output_dropout is None else output_dropout
        check_fraction("output_dropout", output_dropout)
        self.num_nodes, self.num_relations, self.heads, self.mask_padding = (
            num_nodes,
            num_relations,
            heads,
            mask_padding,
        )
        self.entities, self.relations = nn.Embedding(num_nodes + 1, dim), nn.Embedding(num_relations + 1, dim)
        self.types, self.query_types = nn.Embedding(2, dim), nn.Embedding(3, dim)
        self.segments = nn.Embedding(segments, dim) if segments else None
        self.cls = nn.Parameter(torch.empty(1, dim))
        self.norm, self.query_norm = _norm(dim), _norm(dim)
        self.cross_norm = _norm(dim) if cross_layers else None
        about: dict[str, Any] = {"dropout": dropout, "activation": "gelu", "layer_norm_eps": EPS, "batch_first": True}
        encoder, decoder = nn.TransformerEncoderLayer, nn.TransformerDecoderLayer
        self.blocks = nn.ModuleList(encoder(dim, heads, intermediate, **about) for _ in range(layers))
        query_layers = layers if query_layers is None else query_layers
        self.query_blocks = nn.ModuleList(encoder(dim, heads, intermediate, **about) for _ in range(query_layers))
        self.cross = nn.ModuleList(decoder(dim, cross_heads, intermediate, **about) for _ in range(cross_layers))
        self.last = nn.Linear(2 * dim, dim)
        self.drop, self.last_drop = nn.Dropout(input_dropout), nn.Dropout(output_dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw embeddings and blocks of N(0, .02), and the last map by Glorot's uniform distribution."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, tokens: SubgraphTokens, center: Tensor, relation: Tensor) -> Tensor:
        """Return the scores (B, N + 1) of all entities, and of padding.

        Args:
            tokens: those of the subgraphs; see `subgraph_tokens`.
            center: (B,) int64, the known entity of each triple.
            relation: (B,) int64.

        Raises:
            InputError: the mask is not square, or an entity or relation does not exist.
        """
        self._check(tokens, center, relation)
        read = self._read(tokens)
        query = torch.stack(
            [self.cls.expand(center.shape[0], -1), self.entities(center), self.relations(relation)], dim=1
        )
        query = self.drop(self.query_norm(query + self.query_types.weight))
        for block in self.query_blocks:
            query = block(query)
        if self.cross_norm is not None:
            query = self.last_drop(self.cross_norm(query))
        padding = tokens.is_padding if self.mask_padding else None
        for block in self.cross:
            query = block(query, read, memory_key_padding_mask=padding)
        z = self.last(torch.cat([query[:, 0], read[:, 0]], dim=1))
        logits: Tensor = z @ self.last_drop(self.entities.weight).T
        return logits

    def _read(self, tokens: SubgraphTokens) -> Tensor:
        """Return what the tokens (B, T, d) become within their mask."""
        is_relation = tokens.is_relation
        of_entities = self.entities(tokens.ids.masked_fill(is_relation, self.num_nodes))
        of_relations = self.relations(tokens.ids.masked_fill(~is_relation, self.num_relations))
        read = torch.where(is_relation.unsqueeze(2), of_relations, of_entities) + self.types(is_relation.long())
        if self.segments is not None and tokens.segments is not None:
            read = read + self.segments(tokens.segments)
        read, mask = self.drop(self.norm(read)), self._attention_mask(tokens.mask).repeat_interleave(self.heads, 0)
        for block in self.blocks:
            read = block(read, mask.to(read.dtype) if mask.is_floating_point() else mask)
        return read

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """Return what is added to scores, as published, or True where a token must not attend; it may to itself."""
        if not self.mask_padding:
            return (~mask) * BLOCKED
        return ~(mask | torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device))

    def _check(self, tokens: SubgraphTokens, center: Tensor, relation: Tensor) -> None:
        if tokens.mask.shape != (*tokens.ids.shape, tokens.ids.shape[1]) or tokens.mask.dtype != torch.bool:
            raise InputError(
                f"mask of shape {tuple(tokens.mask.shape)} and {tokens.mask.dtype} must be bool (B, T, T) for ids of"
                f" shape {tuple(tokens.ids.shape)}"
            )
        for name, numbers, count in (("center", center, self.num_nodes), ("relation", relation, self.num_relations)):
            if numbers.shape != tokens.ids.shape[:1] or not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
                raise InputError(f"{name}={numbers.tolist()} must be one number a subgraph, from 0 to {count - 1}")


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=EPS)


def _check_edges(edges: Tensor, num_nodes: int, num_relations: int) -> None:
    if edges.dim() != 2 or edges.shape[1] != 3 or edges.dtype != torch.long:
        raise InputError(f"edges of shape {tuple(edges.shape)} and {edges.dtype} must be (E, 3) int64")
    if edges.shape[0]:
        check_triples(edges, num_nodes, num_relations, name="edges")
