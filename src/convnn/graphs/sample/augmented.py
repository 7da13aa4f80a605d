"""GraphVite's samples: pairs of nodes that walks pass within a few steps, sorted into blocks (WWW 2019)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.graphs.sample.alias import AliasTable, alias_walks
from convnn.ops.ragged import Lists
from convnn.ops.walks import RandomWalks, Stream, stream_of


@dataclass(frozen=True)
class Partition:
    """Nodes dealt to parts of about equal weight: by descending weight, back and forth.

    Attributes:
        part: (N,) the part of each node.
        place: (N,) its place in the part.
        nodes: the nodes of each part, in order of their places.
    """

    part: Tensor
    place: Tensor
    nodes: list[Tensor]

    @classmethod
    def by_weight(cls, weights: Tensor, num_parts: int) -> "Partition":
        """Deal nodes of given weights (N,).

        Raises:
            InputError: there are fewer nodes than parts, or no part.
        """
        check_at_least("num_parts", num_parts, 1)
        if num_parts > weights.shape[0]:
            raise InputError(f"num_parts={num_parts} must be at most the {weights.shape[0]} nodes")
        order = weights.argsort(descending=True, stable=True)
        turn = torch.arange(order.shape[0]) % (2 * num_parts)
        dealt = torch.minimum(turn, 2 * num_parts - 1 - turn)
        part, place = torch.empty_like(order), torch.empty_like(order)
        part[order] = dealt
        nodes = [order[dealt == i] for i in range(num_parts)]
        for one in nodes:
            place[one] = torch.arange(one.shape[0])
        return cls(part, place, nodes)


class AugmentedSampler:
    r"""Positive pairs of nodes for an embedding, made from random walks as they are needed.

    A walk :math:`s_0, \ldots, s_m` begins in proportion to weighted degrees and goes on as in `RandomWalks` (node2vec
    with p and q); its pairs are :math:`(s_j, s_{j+k})` for :math:`k = 1, \ldots, a`, in order. A pair goes to the block
    of its nodes' parts; each block has a pool, and walks are made until all pools are full. In its pool, pair o is
    written to (o mod b) size / b + floor(o / b), so that pairs of one walk are far apart.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        edge_weight: (E,) weights of at least 0, or None for 1.
        num_nodes: N, or None for one more than the largest number.
        walk_length: most edges in a walk, at least 1.
        augmentation: a, from 1 to `walk_length`.
        num_parts: P, from 1 to N.
        pool_size: pairs in a pool.
        shuffle_base: b, which divides `pool_size`.
        p: see `RandomWalks`.
        q: see `RandomWalks`.
        add_reverse: whether each edge is added the other way, for an undirected graph that has each edge once.
        batch: walks made between two looks at the pools.
        method: "walks"; or "alias", the published way to take numbers: walks begin with an edge drawn by weight, and
            each draw is by an alias table, for which the definition has no fast form.
        seed: a seed, or a stream of numbers.

    Attributes:
        lists: neighbours of each node.
        weights: (N,) weighted out-degrees.
        partition: the parts of the nodes.

    Raises:
        InputError: an argument is out of range, or there is no edge; when sampling, a pool cannot be filled.

    Reference:
        Zhu et al., "GraphVite", WWW 2019, section 3.1.
    """

    PATIENCE = 1000  # batches without a pair for any pool that is not full

    def __init__(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        walk_length: int = 40,
        augmentation: int = 5,
        num_parts: int = 1,
        pool_size: int = 100_000,
        shuffle_base: int = 1,
        p: float = 1.0,
        q: float = 1.0,
        add_reverse: bool = False,
        batch: int = 100,
        method: str = "walks",
        seed: int | Stream = 0,
    ) -> None:
        for name, value in (("walk_length", walk_length), ("augmentation", augmentation), ("batch", batch)):
            check_at_least(name, value, 1)
        check_at_least("pool_size", pool_size, 1)
        check_at_least("shuffle_base", shuffle_base, 1)
        check_choice("method", method, ("walks", "alias"))
        if augmentation > walk_length:
            raise InputError(f"augmentation={augmentation} must be at most walk_length={walk_length}")
        if pool_size % shuffle_base:
            raise InputError(f"pool_size={pool_size} must be a multiple of shuffle_base={shuffle_base}")
        if not edge_index.numel():
            raise InputError("edge_index must have at least one edge")
        nodes = int(edge_index.max()) + 1 if num_nodes is None else num_nodes
        self.walk_length = walk_length
        self.augmentation = augmentation
        self.pool_size = pool_size
        self.shuffle_base = shuffle_base
        self.batch = batch
        self.method = method
        self.stream = stream_of(seed)
        self.lists, weights = _outgoing(edge_index, edge_weight, nodes, add_reverse)
        self.walks = RandomWalks(self.lists, weights, p=p, q=q)
        each = torch.ones(self.lists.indices.shape[0], dtype=torch.float64) if weights is None else weights.double()
        self.weights = torch.zeros(nodes, dtype=torch.float64).index_add(0, self.lists.query_of_each, each)
        self.partition = Partition.by_weight(self.weights, num_parts)
        self.edges = AliasTable(each) if method == "alias" else None
        self._sums = self.weights.cumsum(0)

    @property
    def num_parts(self) -> int:
        """The number of parts, P."""
        return len(self.partition.nodes)

    def sample(self) -> Tensor:
        """Return full pools (P, P, pool_size, 2): pairs of a head in the first part and a tail in the second.

        Raises:
            InputError: no walk leads from one part to another, so that a pool stays empty.
        """
        blocks = self.num_parts**2
        pools = torch.empty(blocks, self.pool_size, 2, dtype=torch.long)
        filled, idle = torch.zeros(blocks, dtype=torch.long), 0
        while bool((filled < self.pool_size).any()):
            before = filled.clone()
            self._fill(pools, filled, walk_pairs(self.random_walks(), self.augmentation))
            idle = 0 if bool((filled > before).any()) else idle + 1
            if idle == self.PATIENCE:
                raise InputError(
                    f"num_parts={self.num_parts}: no walk joins two of the parts; take fewer parts or longer walks"
                )
        return pools.view(self.num_parts, self.num_parts, self.pool_size, 2)

    def random_walks(self) -> Tensor:
        """Return the next batch of walks, (batch, walk_length + 1); -1 follows a node without neighbours."""
        if self.edges is not None:
            return alias_walks(self.walks, self.edges, self.batch, self.walk_length, self.stream)
        first = torch.searchsorted(self._sums, self.stream.uniform(self.batch) * self._sums[-1], right=True)
        walks = self.walks(first.clamp_max(self._sums.shape[0] - 1), self.walk_length, self.stream)
        has_ended = (self.lists.lengths[walks[:, :-1]] == 0).cumsum(1) > 0
        walks[:, 1:].masked_fill_(has_ended, -1)
        return walks

    def _fill(self, pools: Tensor, filled: Tensor, pairs: Tensor) -> None:
        """Put pairs into the pools of their blocks, in order; those that find it full are dropped."""
        parts = self.partition.part[pairs]
        blocks = parts[:, 0] * self.num_parts + parts[:, 1]
        order = blocks.argsort(stable=True)
        counts = torch.bincount(blocks, minlength=filled.shape[0])
        blocks = blocks[order]
        places = torch.arange(order.shape[0]) - (counts.cumsum(0) - counts)[blocks] + filled[blocks]
        has_room = places < self.pool_size
        blocks, places, base = blocks[has_room], places[has_room], self.shuffle_base
        pools[blocks, (places % base) * (self.pool_size // base) + places // base] = pairs[order[has_room]]
        filled += counts
        filled.clamp_(max=self.pool_size)


def walk_pairs(walks: Tensor, most: int) -> Tensor:
    """Return the pairs (n, 2) of nodes at most `most` places apart in walks (W, L), the earlier node first.

    They are in order of walks and places, the nearest first; -1 follows the end of a walk and is in no pair.
    """
    near = F.pad(walks[:, 1:], (0, most - 1), value=-1).unfold(1, most, 1)
    pairs = torch.stack(torch.broadcast_tensors(walks[:, :-1, None], near), -1)
    return pairs[near >= 0]


def _outgoing(
    edge_index: Tensor, edge_weight: Tensor | None, nodes: int, add_reverse: bool
) -> tuple[Lists, Tensor | None]:
    """Return the targets of each node in the order of the edges, and their weights."""
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise InputError(
            f"edge_weight of shape {tuple(edge_weight.shape)} must be ({edge_index.shape[1]},), one for each edge"
        )
    if add_reverse:
        edge_index = torch.stack([edge_index, edge_index.flip(0)], 2).flatten(1)  # each edge, then its other way
        edge_weight = None if edge_weight is None else edge_weight.repeat_interleave(2)
    lists, edges = Lists.of_edges(edge_index.flip(0), nodes)
    return lists, None if edge_weight is None else edge_weight[edges]
