"""Two branches that see graphs differently, and two domains of which one has labels: CoCo."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.objectives.contrastive.engine import Pairs, check_rows, check_views
from convnn.objectives.contrastive.scores import Cosine

Branches = tuple[Tensor, Tensor, Tensor]
"""Embeddings (B, d) of both branches, and logits (B, C)."""


def cross_branch_loss(z: Tensor, zk: Tensor, tau: float = 0.5, *, rows: int | None = None) -> Tensor:
    r"""Return how much each graph's embedding by one branch is less like that by the other than like all of those.

    .. math:: -\frac{1}{B} \sum_i \log \frac{e^{\cos(z_i, \tilde z_i) / \tau}}{\sum_j e^{\cos(z_i, \tilde z_j) / \tau}}

    Args:
        z: (B, d) queries, of the first branch, B at least 2.
        zk: (B, d) keys, of the second.
        tau: temperature, above 0.
        rows: see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes do not agree, there are fewer than 2 graphs, or tau is not positive.

    Reference:
        Yin et al., "CoCo: A Coupled Contrastive Framework for Unsupervised Domain Adaptive Graph Classification", arXiv
        2306.04979. Its code is not public; that queries are of the first branch alone is an assumption.
    """
    check_views(("z", "zk"), z, zk)
    pairs = Pairs(z, zk, Cosine(tau), rows=rows)
    return (pairs.log_partition() - pairs.at(torch.arange(z.shape[0], device=z.device))).mean()


def cross_domain_loss(
    z_target: Tensor,
    zk_source: Tensor,
    y_source: Tensor,
    y_target: Tensor,
    tau: float = 0.5,
    *,
    rows: int | None = None,
) -> Tensor:
    r"""Return how much target graphs are less like source graphs of their supposed class than like all source graphs.

    .. math:: -\frac{1}{|T|} \sum_{i \in T} \frac{1}{|\Pi(i)|} \sum_{j \in \Pi(i)}
        \log \frac{e^{\cos(z_i, \tilde z_j) / \tau}}{\sum_k e^{\cos(z_i, \tilde z_k) / \tau}},
        \qquad \Pi(i) = \{ j : y_j = \hat y_i \}

    over the targets T whose class is in the batch; 0 if there is none.

    Args:
        z_target: (B_t, d) embeddings of target graphs, by the first branch.
        zk_source: (B_s, d) embeddings of source graphs, by the second branch.
        y_source: (B_s,) int64, their classes.
        y_target: (B_t,) int64, the classes that the network gives the targets now.
        tau: temperature, above 0.
        rows: see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes or types do not agree, or tau is not positive.

    Reference:
        Yin et al., arXiv 2306.04979; which branches are compared is an assumption. With one branch and true labels it
        is the loss of Khosla et al., "Supervised Contrastive Learning", arXiv 2004.11362.
    """
    for name, rows_, labels in (("z_target", z_target, y_target), ("zk_source", zk_source, y_source)):
        check_rows(name, rows_)
        if labels.shape != rows_.shape[:1] or labels.dtype != torch.long:
            raise InputError(
                f"labels of {name} of shape {tuple(labels.shape)} and {labels.dtype} must be ({rows_.shape[0]},) int64"
            )
    pairs = Pairs(z_target, zk_source, Cosine(tau), rows=rows)
    positive = (y_target.unsqueeze(1) == y_source).to(pairs.queries.dtype)
    counts = positive.sum(1)
    losses = pairs.log_partition() - pairs.total(positive / counts.clamp_min(1).unsqueeze(1))
    return (losses * (counts > 0)).sum() / (counts > 0).sum().clamp_min(1)


class CoCoLoss(nn.Module):
    r"""Cross-entropy of the source, and both contrasts: :math:`L_{src} + a L_{cb} + b L_{cd}`.

    Args:
        cross_branch: a, weight of `cross_branch_loss` over the graphs of both domains.
        cross_domain: b, weight of `cross_domain_loss`.
        tau: temperature of both.
        warm_up: epochs without the cross-domain term, in which the supposed classes of targets are noise.

    Reference:
        Yin et al., arXiv 2306.04979.
    """

    terms: ClassVar[tuple[str, ...]] = ("source", "cross_branch", "cross_domain")

    def __init__(
        self, cross_branch: float = 1.0, cross_domain: float = 1.0, tau: float = 0.5, *, warm_up: int = 0
    ) -> None:
        super().__init__()
        self.cross_branch, self.cross_domain, self.tau, self.warm_up = cross_branch, cross_domain, tau, warm_up

    def forward(self, source: Branches, target: Branches, labels: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Return the terms of the loss by name, whose sum is to be minimised, for an epoch from 0.

        Args:
            source: embeddings (B_s, d) of both branches and logits (B_s, C), as `convnn.nn.graphs.CoCo` returns.
            target: those of the target graphs.
            labels: (B_s,) int64, classes of the source graphs.
            epoch: epoch, for the warm-up.

        Raises:
            InputError: shapes do not agree, a label is no class, or there are fewer than 2 graphs.
        """
        (z, zk, logits), (z_target, zk_target, logits_target) = source, target
        classes = logits.shape[1]
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise InputError(
                f"labels from {int(labels.min())} to {int(labels.max())} must lie between 0 and {classes - 1}"
            )
        terms = {
            "source": F.cross_entropy(logits, labels),
            "cross_branch": self.cross_branch
            * cross_branch_loss(torch.cat([z, z_target]), torch.cat([zk, zk_target]), self.tau),
        }
        weight = self.cross_domain if epoch >= self.warm_up else 0.0
        supposed = logits_target.detach().argmax(1)
        return terms | {"cross_domain": weight * cross_domain_loss(z_target, zk, labels, supposed, self.tau)}
