"""Graphs that need no file: digits, the karate club, random graphs and a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convnn.data.geometric import import_geometric
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
    """Return the graph of the 1797 digits of 64 pixels, each joined to its 10 nearest in Euclidean distance, both ways.

    20 digits of each class are for training, 500 for validation, the rest for the test.
    """
    from sklearn.datasets import load_digits  # takes most of a second to import

    pixels, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    x = (pixels / 16).float()
    rows, positions = x.unsqueeze(0), torch.arange(len(x))
    nearest = select.nearest(rows, rows, DIGITS_K + 1, metric="euclidean", positions=positions).indices[0, :, 1:]
    edges = torch.stack([nearest.flatten(), positions.repeat_interleave(DIGITS_K)])
    return _split(_graph(x, import_geometric("utils").to_undirected(edges), labels.long()), seed, num_val=500)


def karate() -> Data:
    """Return Zachary's karate club: 34 members in four groups, one of each for training, the rest for the test."""
    graph = import_geometric("datasets").KarateClub()[0]
    graph.val_mask, graph.test_mask = torch.zeros_like(graph.train_mask), ~graph.train_mask
    return graph


def blocks(seed: int) -> Data:
    """Draw a stochastic block model: four classes of 50 nodes, denser within; features are noisy class means."""
    probabilities = torch.full((BLOCKS, BLOCKS), BETWEEN).fill_diagonal_(WITHIN)
    with seeded_globally("sbm", seed):
        edges = import_geometric("utils").stochastic_blockmodel_graph([BLOCK_SIZE] * BLOCKS, probabilities)
    labels = torch.arange(BLOCKS).repeat_interleave(BLOCK_SIZE)
    generator = make_generator("sbm", "features", seed)
    means = torch.randn(BLOCKS, BLOCK_FEATURES, generator=generator)
    x = means[labels] / 2 + torch.randn(len(labels), BLOCK_FEATURES, generator=generator)
    return _split(_graph(x, edges, labels), seed, num_val=40)


def erdos_renyi(seed: int) -> Data:
    """Draw a graph of 100 nodes, each pair joined with probability 0.1; its one feature is 1."""
    with seeded_globally("erdos-renyi", seed):
        edges = import_geometric("utils").erdos_renyi_graph(RANDOM_NODES, RANDOM_PROBABILITY)
    return _graph(torch.ones(RANDOM_NODES, 1), edges)


def grid() -> Data:
    """Return a 10 x 10 grid in row-major order, joined to all eight neighbours; features are row, column in [0, 1]."""
    utils = import_geometric("utils")
    edges, _ = utils.remove_self_loops(utils.grid(GRID_SIDE, GRID_SIDE)[0])
    places = torch.linspace(0, 1, GRID_SIDE)
    return _graph(torch.cartesian_prod(places, places), edges)


def _graph(x: Tensor, edges: Tensor, labels: Tensor | None = None) -> Data:
    return import_geometric("data").Data(x=x, edge_index=edges, y=labels)


def _split(graph: Data, seed: int, num_val: int) -> Data:
    """Add masks: 20 nodes of each class for training, `num_val` for validation, the rest for the test."""
    rule = import_geometric("transforms").RandomNodeSplit(
        "test_rest", num_train_per_class=TRAIN_PER_CLASS, num_val=num_val
    )
    with seeded_globally("split", seed):
        return rule(graph)
