"""Networks that match the nodes of two graphs, and learn it from annotations of which some are wrong."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction, check_not_negative, check_rate
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.objectives.contrastive import common_nce_loss, quadratic_contrast_loss
from convnn.objectives.momentum_teacher import MomentumTeacher
from convnn.ops.assignment import match

TEMPERATURE, LARGEST_SCALE = 0.07, 4.6052
"""The temperature in the beginning, and the logarithm of the largest number by which cosines are multiplied, 100."""


class Embedding(nn.Module):
    """Features of nodes (N, C) to rows (N, C) that are compared by their cosines, with the scale of the cosines."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.rows = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.logit_scale = nn.Parameter(torch.tensor(1 / TEMPERATURE).log())

    def forward(self, nodes: Tensor) -> Tensor:
        """Return the rows."""
        rows: Tensor = self.rows(nodes)
        return rows

    @property
    def scale(self) -> Tensor:
        """The logarithm of the scale, ()."""
        return self.logit_scale.clamp(0, LARGEST_SCALE)


class NodeMatcher(OwnLoss):
    r"""An MLP on the features of nodes, by whose rows the nodes of two graphs are assigned to each other.

    The terms are the contrast of annotated pairs of nodes, :math:`\mathcal{L}_c` (`common_nce_loss`), and of the edges
    between them, :math:`\mathcal{L}_e` (`quadratic_contrast_loss`), over all nodes of a batch:

    .. math:: \mathcal{L} = \mathcal{L}_c(a \min(1, t / t_w)) + b \, \mathcal{L}_e

    In both a `MomentumTeacher` says how far to believe an annotation. It follows the network before every batch t of
    training, from 0, and is part of the state of the network, so that a resumed run goes on with the same teacher. The
    figure, `matched`, is the share of the nodes of a pair that the best assignment gives the annotated partner.

    Args:
        layer: not read.
        in_channels: C, number of features of a node.
        num_classes: not read.
        width: factor on d_hidden.
        d_hidden: channels inside the MLP.
        teacher_momentum: how much of the teacher stays at a step, in [0, 1).
        teacher_share: a, how much of the targets is what the teacher sees, in [0, 1].
        teacher_warmup: t_w, number of batches until it counts as much.
        edge_weight: b, at least 0.

    Shapes:
        pairs (B, C, 2, N) of graphs with N nodes, at least 2; node i of the first is annotated as node i of the second.

    Raises:
        InputError: an argument is out of range; in forward: the pairs have another shape.

    Reference:
        Lin et al., "Graph Matching with Bi-level Noisy Correspondence", arXiv 2212.05085. The published network has
        VGG16 and SplineConv before, and the features of nodes are theirs.
    """

    default_layer: ClassVar[str] = "Conv2d"
    built_of: ClassVar[tuple[str, ...] | None] = ()
    data: ClassVar[str] = "matchings"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "keypoints",
        "batch_size": 6,
        "num_epochs": 25,
        "optimizer": "adam",
        "lr": 3e-3,
        "weight_decay": 0.0,
        "clip_grad_norm": 0.0,
    }
    terms = ("contrast", "edges")
    figures = ("matched",)

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 16,
        num_classes: int = 0,
        width: float = 1.0,
        d_hidden: int = 64,
        teacher_momentum: float = 0.98,
        teacher_share: float = 0.4,
        teacher_warmup: int = 100,
        edge_weight: float = 1.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_rate("teacher_momentum", teacher_momentum)
        check_fraction("teacher_share", teacher_share)
        check_at_least("teacher_warmup", teacher_warmup, 1)
        check_not_negative("edge_weight", edge_weight)
        self.teacher_share, self.teacher_warmup, self.edge_weight = teacher_share, teacher_warmup, edge_weight
        self.embedding = Embedding(in_channels, self.scaled(d_hidden))
        self.teacher = MomentumTeacher(self.embedding, teacher_momentum)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.steps: Tensor

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        """Return the loss of a batch of pairs (B, C, 2, N)."""
        self._check(x)
        share = self.teacher_share * min(1.0, self.steps.item() / self.teacher_warmup)
        if self.training:
            self.teacher.update(self.embedding)
            self.steps += 1
        if not x.shape[0]:
            return self.answer_to_none(x)
        first, second = _nodes(x)
        rows = self.embedding(first), self.embedding(second), self.teacher(first), self.teacher(second)
        believed = cast("Embedding", self.teacher.module).scale
        contrast = common_nce_loss(*rows, self.embedding.scale, believed, share)
        terms = {"contrast": contrast, "edges": self.edge_weight * quadratic_contrast_loss(*rows)}
        found = self._assigned(*(one.detach().unflatten(0, (x.shape[0], -1)) for one in rows[:2]))
        matched = (found == torch.arange(x.shape[3], device=x.device)).to(x).mean(1)
        return Answer({name: x.shape[0] * term for name, term in terms.items()}, {"matched": matched})

    @torch.no_grad()
    def match(self, x: Tensor) -> Tensor:
        """Return the node of the second graph that each of the first is assigned to, (B, N) int64, for (B, C, 2, N).

        Raises:
            InputError: the pairs have another shape.
        """
        self._check(x)
        return self._assigned(*(self.embedding(one).unflatten(0, (x.shape[0], x.shape[3])) for one in _nodes(x)))

    def _assigned(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the assignment (B, N) of rows (B, N, C)."""
        similar = F.normalize(first, dim=2) @ F.normalize(second, dim=2).mT
        found = [match(one)[1] for one in similar]
        return torch.stack(found) if found else similar.new_zeros(similar.shape[:2], dtype=torch.long)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1:3] != (self.in_channels, 2) or x.shape[3] < 2 or not x.is_floating_point():
            raise InputError(
                f"pairs of shape {tuple(x.shape)} and {x.dtype} must be (B, {self.in_channels}, 2, N), floating, with N"
                " at least 2"
            )


def _nodes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features (B N, C) of all nodes of the first graphs of pairs (B, C, 2, N), and of the second."""
    first, second = (x[:, :, place].mT.flatten(0, 1) for place in (0, 1))
    return first, second


@register_model(NodeMatcher)
def common(layer: LayerFactory, **settings: Any) -> NodeMatcher:
    """Matching of nodes where annotations are wrong (COMMON)."""
    return NodeMatcher(layer, **settings)
