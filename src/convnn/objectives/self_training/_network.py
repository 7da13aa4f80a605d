"""What the schemes of this room ask of a network on a graph, and of labels of its nodes."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn.graphs.batch import GraphBatch

UNLABELLED = -1
"""The label of a node that has none."""


class NodeNetwork(Protocol):
    """A module from a graph to its nodes, such as `convnn.models.gnn.GNN` with `linear_head`."""

    training: bool

    def train(self, mode: bool = True) -> Any:
        """Set the mode, as `nn.Module` does."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters, as `nn.Module` does."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, as `nn.Module` does."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Load weights, as `nn.Module` does."""

    def embed(self, graph: GraphBatch) -> Tensor:
        """Return features (N, F) of all nodes."""

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the logits (N, C) of features."""


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels of nodes that are not -1, for none, or a class, of which each has a node.

    Raises:
        InputError: the shape or type is wrong, a label is out of range, or a class has no node.
    """
    if labels.dim() != 1 or labels.dtype != torch.long:
        raise InputError(f"labels of shape {tuple(labels.shape)} and {labels.dtype} must be (N,) int64")
    wrong = (labels < UNLABELLED) | (labels >= classes)
    if bool(wrong.any()):
        raise InputError(
            f"labels has {int(labels[wrong][0])}; they must lie between 0 and {classes - 1}, or be -1 for nodes without"
        )
    missing = (labels[labels >= 0].bincount(minlength=classes) == 0).nonzero()
    if missing.numel():
        raise InputError(f"labels must have a node of each of the {classes} classes, and has none of {int(missing[0])}")
