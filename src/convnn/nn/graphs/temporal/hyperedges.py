"""Convolution of skeletons over hyperedges that are found, and joints that are learned (Hyper-GCN)."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs.temporal.joints import check_parts, check_skeletons
from convnn.ops import select

EPS = 1e-8
"""What is added to degrees, so that those of 0 can be divided by."""


def hypergraph_operator(incidence: Tensor, weight: Tensor) -> Tensor:
    r"""Return the matrix that carries features from vertices to hyperedges and back.

    .. math:: G_{uu'} = \sum_e \frac{H_{ue} w_e}{d_u} \frac{w_e}{b_e} H_{u'e}, \qquad
        d_u = \sum_e |H_{ue} w_e|, \quad b_e = \sum_u |H_{ue}|

    Weights count twice, as in the published code, so that rows add up to 1 for w = 1 alone; they may be negative. Of a
    vertex in no hyperedge the row is 0.

    Args:
        incidence: H, (..., U, E), how much each vertex belongs to each hyperedge.
        weight: w, (..., E).

    Returns:
        (..., U, U).

    Raises:
        InputError: the shapes do not agree.
    """
    if incidence.dim() < 2 or weight.shape[-1:] != incidence.shape[-1:] or weight.dim() != incidence.dim() - 1:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be (..., E), a number for each hyperedge of incidence of shape"
            f" {tuple(incidence.shape)}"
        )
    weighted = incidence * weight.unsqueeze(-2)
    of_vertices = weighted.abs().sum(-1, keepdim=True) + EPS
    of_hyperedges = incidence.abs().sum(-2, keepdim=True) + EPS
    return (weighted / of_vertices) @ (weight.unsqueeze(-2) / of_hyperedges * incidence).mT


def nearest_incidence(points: Tensor, k: int) -> Tensor:
    r"""Return how much each point belongs to the hyperedges around its k nearest points, itself included.

    .. math:: H_{uv} = \frac{e^{-\lVert q_u - q_v \rVert}}{\sum_{v' \in N(u)} e^{-\lVert q_u - q_{v'} \rVert}}
        \text{ for } v \in N(u), \text{ else } 0

    Args:
        points: q, (..., U, h). Of equal distances, the lowest index is nearer, after the point itself.
        k: number of nearest points, from 1 to U.

    Returns:
        (..., U, U), with rows of sum 1; column v is the hyperedge around v.

    Raises:
        InputError: k is out of range.
    """
    rows = points.flatten(0, -3)
    itself = torch.arange(points.shape[-2], device=points.device)
    nearest = select.nearest(rows, rows, k, metric="euclidean", positions=itself).indices
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")  # exactly 0 to itself
    shares = (-distances.gather(2, nearest)).softmax(2)
    return torch.zeros_like(distances).scatter(2, nearest, shares).view(*points.shape[:-1], points.shape[-2])


class AdaptiveHyperGraphConv(nn.Module):
    r"""Adaptive hypergraph convolution: bones, learned virtual joints, and hyperedges found for every sample.

    To the V joints come P virtual ones, whose features e are the same in all samples and frames. With the features X of
    all of them, their mean m over the frames, and for each subset of the channels (head) s

    .. math:: A_s = \tilde A^0_s + \operatorname{ReLU}(\alpha)\, G(H_s, w_s), \qquad
        H_s = H(Q_s m), \quad w_s = \tanh(W'_s \operatorname{LeakyReLU}(W m)), \\
        y = \operatorname{ReLU}\bigl(\operatorname{BN}([\dots, A_s (W''_s X_s), \dots]) + x'\bigr)

    with H of `nearest_incidence`, G of `hypergraph_operator`, and :math:`\tilde A^0` the adjacency times learned
    importances, with rows of sum 1. x' is x, or a 1x1 convolution and normalisation where the channels change. Virtual
    joints have no output: they send what is learned, and are in hyperedges.

    Args:
        in_channels: C, a multiple of S.
        out_channels: O, a multiple of S.
        adjacency: (S, V + P, V + P), such as `with_virtual_joints` returns; [s, i, j] is how much joint i reads of j.
        num_virtual: P; 0 is allowed.
        k: number of nearest joints, itself included, up to V + P.
        reduction: r; distances are taken in C / S / r channels of each subset.

    Attributes:
        virtual: e, (P, C), learned; at first the same row P times.

    Raises:
        InputError: a number is out of range, channels are no multiple of S, or the adjacency does not fit.

    Reference:
        "Adaptive Hyper-Graph Convolution Network for Skeleton-based Human Action Recognition with Virtual Connections",
        arXiv 2411.14796, in the form of its code. Normalisation starts with a factor of 1e-6, as published: a block
        starts as its shortcut. To keep virtual joints apart, `convnn.objectives.skeletons.virtual_divergence_loss`.

    Example:
        >>> from convnn.nn.graphs import with_virtual_joints
        >>> chain = with_virtual_joints([(1, 0), (2, 1), (3, 2)], 4, virtual=2, subsets=2)
        >>> AdaptiveHyperGraphConv(8, 6, chain, 2, k=3, reduction=2)(torch.randn(2, 8, 16, 4)).shape
        torch.Size([2, 6, 16, 4])
    """

    adjacency: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        num_virtual: int,
        *,
        k: int = 9,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        check_parts(adjacency)
        check_at_least("num_virtual", num_virtual, 0)
        check_at_least("reduction", reduction, 1)
        subsets, vertices, _ = adjacency.shape
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            check_at_least(name, channels, 1)
            if channels % subsets:
                raise InputError(f"{name}={channels} must be a multiple of {subsets}, the subsets of the adjacency")
        if vertices <= num_virtual:
            raise InputError(f"num_virtual={num_virtual} must be less than {vertices}, all vertices of the adjacency")
        if not 1 <= k <= vertices:
            raise InputError(f"k={k} must lie between 1 and {vertices}, the number of joints with the virtual ones")
        hidden = in_channels // subsets // reduction
        if not hidden:
            raise InputError(
                f"reduction={reduction} must be at most {in_channels // subsets}, the channels of a subset"
            )
        self.k, self.subsets, self.joints = k, subsets, vertices - num_virtual
        self.in_channels, self.out_channels = in_channels, out_channels
        self.register_buffer("adjacency", adjacency.detach().to(torch.get_default_dtype(), copy=True))
        self.importance = nn.Parameter(torch.ones(subsets, vertices, vertices))
        self.alpha = nn.Parameter(torch.ones(1))
        self.virtual = nn.Parameter(torch.randn(1, in_channels).repeat(num_virtual, 1))
        self.to_points = nn.Conv1d(in_channels, subsets * hidden, 1, groups=subsets)
        self.to_weights = nn.Sequential(
            nn.Conv1d(in_channels, subsets * hidden, 1, groups=subsets),
            nn.LeakyReLU(),
            nn.Conv1d(subsets * hidden, subsets, 1),
        )
        self.conv = nn.Conv2d(in_channels, out_channels, 1, groups=subsets)
        self.norm = nn.BatchNorm2d(out_channels)
        is_same = in_channels == out_channels
        to_out = nn.Conv2d(in_channels, out_channels, 1)
        self.shortcut = nn.Identity() if is_same else nn.Sequential(to_out, nn.BatchNorm2d(out_channels))
        draw_convolutions(self)
        nn.init.constant_(self.norm.weight, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, O, T, V).

        Raises:
            InputError: x has another shape, or is not floating.
        """
        check_skeletons(x, self.in_channels, self.joints)
        virtual = self.virtual.T.unsqueeze(1).expand(x.shape[0], -1, x.shape[2], -1)
        joints = torch.cat([x, virtual], 3)
        incidence, weight = self.hyperedges(joints.mean(2))
        found = self.alpha.relu() * hypergraph_operator(incidence, weight)
        reads = (self.bones + found)[:, :, : self.joints]
        mapped = self.conv(joints).unflatten(1, (self.subsets, -1))
        y = torch.einsum("nsuv,nsctv->nsctu", reads, mapped).flatten(1, 2)
        return (self.norm(y) + self.shortcut(x)).relu()

    def hyperedges(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Return incidence (B, S, U, U) and weights (B, S, U) of the hyperedges, from means over frames (B, C, U)."""
        points = self.to_points(means).unflatten(1, (self.subsets, -1))
        return nearest_incidence(points.mT, self.k), self.to_weights(means).tanh()

    @property
    def bones(self) -> Tensor:
        """The fixed part of the graph with its importances, (S, U, U), rows of sum 1."""
        bones = self.importance * self.adjacency
        return bones / (bones.abs().sum(2, keepdim=True) + EPS)

    def extra_repr(self) -> str:
        """Show channels, joints and k."""
        virtual = self.virtual.shape[0]
        return f"{self.in_channels}, {self.out_channels}, joints={self.joints}, num_virtual={virtual}, k={self.k}"


def draw_convolutions(module: nn.Module) -> None:
    """Draw the weights of convolutions from normal distributions for their outputs, and set their biases to 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
