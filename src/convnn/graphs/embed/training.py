"""GraphVite in progress: pools of pairs, one after the other, which can end anywhere and go on to the same bits."""

from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.embed.skip_gram import Negatives, SkipGram, orthogonal_blocks
from convnn.graphs.sample.augmented import AugmentedSampler
from convnn.ops.walks import Stream

_LEAST_RATE = 1e-4  # as a share of the first one


class Training:
    """The training of an embedding by pools of pairs; see `GraphVite`.

    Everything random follows from places in streams of numbers, so that `state` is both embeddings and three numbers.

    Args:
        settings: a `GraphVite`, whose settings count.
        edge_index: as in `GraphVite.fit`, as for the others.
        edge_weight: as there.
        num_nodes: as there.

    Attributes:
        model: the `SkipGram` that is trained.
        done: pairs done.
        total: pairs in all; the last pool may pass it.
    """

    MOST_WALKS = 8192  # at once
    LEAST_PASSES = 20  # over all blocks

    def __init__(
        self, settings: Any, edge_index: Tensor, edge_weight: Tensor | None = None, num_nodes: int | None = None
    ) -> None:
        self.settings = settings
        self.done = 0
        self.total = max(int(settings.epochs * edge_index.shape[1]), 1)
        blocks = settings.num_parts**2
        pool_size = min(settings.pool_size, -(-self.total // (self.LEAST_PASSES * blocks)))
        pairs_of_a_walk = settings.walk_length * settings.augmentation
        self.sampler = AugmentedSampler(
            edge_index,
            edge_weight,
            num_nodes,
            walk_length=settings.walk_length,
            augmentation=settings.augmentation,
            num_parts=settings.num_parts,
            pool_size=pool_size,
            p=settings.p,
            q=settings.q,
            batch=min(-(-pool_size * blocks // pairs_of_a_walk), self.MOST_WALKS),
            seed=Stream(settings.seed),
        )
        self.stream = Stream(settings.seed + 1)
        self.negatives = Negatives(self.sampler.weights, self.sampler.partition, settings.exponent)
        self.model = SkipGram(
            self.sampler.weights.shape[0],
            settings.dim,
            negative_weight=settings.negative_weight,
            weight_decay=settings.weight_decay,
            seed=settings.seed + 2,
        )

    @property
    def is_over(self) -> bool:
        """Whether all pairs are done."""
        return self.done >= self.total

    def advance(self) -> None:
        """Fill the pools of all blocks, and train on them."""
        pools = self.sampler.sample()
        for blocks in orthogonal_blocks(self.settings.num_parts, self.settings.num_parts):
            self._train(pools, blocks)
            self.done += len(blocks) * self.sampler.pool_size

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return embeddings and places from which `restore` goes on."""
        places = {"done": self.done, "walks": self.sampler.stream.position, "negatives": self.stream.position}
        return {"vertex": self.model.vertex.weight.data, "context": self.model.context.weight.data}, places

    def restore(self, tensors: dict[str, Tensor], places: dict[str, Any]) -> None:
        """Go on from a state of the same settings and graph.

        Raises:
            InputError: it has embeddings of another shape.
        """
        for name, embedding in (("vertex", self.model.vertex), ("context", self.model.context)):
            if name not in tensors or tensors[name].shape != embedding.weight.shape:
                raise InputError(f"the state must have {name} of shape {tuple(embedding.weight.shape)}")
            embedding.weight.data.copy_(tensors[name])
        self.done, self.sampler.stream.position = places["done"], places["walks"]
        self.stream.position = places["negatives"]

    def _train(self, pools: Tensor, blocks: list[tuple[int, int]]) -> None:
        """Train on blocks without a part in common, all at once."""
        size, settings = pools.shape[2], self.settings
        pairs = torch.cat([pools[block] for block in blocks])
        drawn = [self.negatives.draw(tail, self.stream, size, settings.num_negative) for _, tail in blocks]
        passed = self.done + len(blocks) * torch.arange(size)  # pair i of all blocks has one rate
        passed = passed // settings.batch_size * settings.batch_size
        rates = falling_rates(settings.lr, passed, self.total).repeat(len(blocks))
        self.model.step(pairs, torch.cat(drawn), rates, torch.arange(len(blocks) + 1) * size)


def falling_rates(first: float, done: Tensor, total: int) -> Tensor:
    """Return learning rates that fall in proportion to what is left, to 0.0001 of the first."""
    return first * (1 - done.double() / total).clamp_min(_LEAST_RATE)
