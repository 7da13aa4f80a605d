"""Graphs that need no file: of digits, of a karate club, drawn at random, and the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convnn.data.geometric import geometric
from convnn.data.seeds import make_generator, seeded_globally
from convnn.ops import select

if TYPE_CHECKING:
    from torch_geometric.data import Data

DIGITS_K = 10
TRAIN_PER_CLASS = 20
BLOCKS, BLOCK_SIZE, WITHIN, BETWEEN = 4, 50, 0.2, 0.02
BLOCK_FEATURES = 16
RANDOM_NODES, RANDOM_PROBABILITY = 100, 0.1
GRID_SIDE = 10


def digits(seed: int) -> Data:
    """The 1797 digits of 64 pixels, each joined to the 10 nearest by Euclidean distance, both ways.

    20 of each class are for training, 500 for validation, the others for the test.
    """
    from sklearn.datasets import load_digits  # takes most of a second to import

    pixels, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    x = (pixels / 16).float()
    rows, themselves = x.unsqueeze(0), torch.arange(len(x))
    chosen = select.nearest(rows, rows, DIGITS_K + 1, metric="euclidean", positions=themselves).indices[0, :, 1:]
    edges = torch.stack([chosen.flatten(), themselves.repeat_interleave(DIGITS_K)])
    return _split(_graph(x, geometric("utils").to_undirected(edges), labels.long()), seed, num_val=500)


def karate() -> Data:
    """Zachary's karate club: 34 members in four groups, one of each for training, all others for the test."""
    graph = geometric("datasets").KarateClub()[0]
    graph.val_mask, graph.test_mask = torch.zeros_like(graph.train_mask), ~graph.train_mask
    return graph


def blocks(seed: int) -> Data:
    """A stochastic block model: four classes of 50 nodes, joined more often within; features are noisy class means."""
    probabilities = torch.full((BLOCKS, BLOCKS), BETWEEN).fill_diagonal_(WITHIN)
    with seeded_globally("sbm", seed):
        edges = geometric("utils").stochastic_blockmodel_graph([BLOCK_SIZE] * BLOCKS, probabilities)
    labels = torch.arange(BLOCKS).repeat_interleave(BLOCK_SIZE)
    generator = make_generator("sbm", "features", seed)
    means = torch.randn(BLOCKS, BLOCK_FEATURES, generator=generator)
    x = means[labels] / 2 + torch.randn(len(labels), BLOCK_FEATURES, generator=generator)
    return _split(_graph(x, edges, labels), seed, num_val=40)


def erdos_renyi(seed: int) -> Data:
    """100 nodes, each two joined with probability 0.1; one feature, which is 1."""
    with seeded_globally("erdos-renyi", seed):
        edges = geometric("utils").erdos_renyi_graph(RANDOM_NODES, RANDOM_PROBABILITY)
    return _graph(torch.ones(RANDOM_NODES, 1), edges)


def grid() -> Data:
    """10 x 10 nodes in row-major order, joined to the eight around them; features are row and column, 0 to 1."""
    utils = geometric("utils")
    edges, _ = utils.remove_self_loops(utils.grid(GRID_SIDE, GRID_SIDE)[0])
    places = torch.linspace(0, 1, GRID_SIDE)
    return _graph(torch.cartesian_prod(places, places), edges)


def _graph(x: Tensor, edges: Tensor, labels: Tensor | None = None) -> Data:
    return geometric("data").Data(x=x, edge_index=edges, y=labels)


def _split(graph: Data, seed: int, num_val: int) -> Data:
    """With masks of 20 nodes of each class for training, some for validation, and the rest."""
    rule = geometric("transforms").RandomNodeSplit("test_rest", num_train_per_class=TRAIN_PER_CLASS, num_val=num_val)
    with seeded_globally("split", seed):
        return rule(graph)
