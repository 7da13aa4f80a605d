"""Clusters as connected parts: a network on a graph brings nodes of one label together, and those near are joined.

The network and its loss are those of Ada-NETS (arXiv 2202.03800), which clusters faces; `AdaptiveNeighbors` of
`convnn.graphs.build` makes the graph that it reads.
"""

import math

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice
from convnn.graphs.build.structure import nearest_lists
from convnn.ops.edges import propagate

NEGATIVES = ("allmax", "allall", "alltopk", "maxmax")


class ClusteringGCN(nn.Module):
    r"""Embed nodes on the unit sphere so that those of one label are near, by two means over neighbours.

    .. math:: h_v \leftarrow \mathrm{ReLU} \Bigl( W \frac{h_v + \sum_{(u, v) \in E} h_u}{|\{u\}| + 1} + b \Bigr)

    A node counts besides the edges, so with a loop, which the published graph has, it counts twice. The features are
    scaled to length one between the layers; a linear layer with PReLU follows, scaled to length one again. Weights of
    edges are not read. On large graphs train on batches with sampled neighbours, as
    `torch_geometric.loader.NeighborLoader` draws them; published are 128 nodes near a random one and two hops of at
    most 80 neighbours.

    Args:
        in_channels: F.
        hidden_channels: H.

    Shapes:
        x (N, F), edge_index (2, E) int64; output (N, H), rows of length one.

    Raises:
        InputError: a number is out of range, a shape or type is wrong, or a node lies outside the graph.

    Reference:
        Ada-NETS, arXiv 2202.03800, and its code.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 512) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("hidden_channels", hidden_channels, 1)
        self.in_channels = in_channels
        self.first = nn.Linear(in_channels, hidden_channels)
        self.second = nn.Linear(hidden_channels, hidden_channels)
        self.head = nn.Sequential(nn.Linear(hidden_channels, hidden_channels), nn.PReLU(hidden_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights of both means as Glorot does for ReLU, and set their biases to 0; the head is drawn anew."""
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2))
            nn.init.zeros_(layer.bias)
        for part in self.head:
            if isinstance(part, nn.Linear):
                part.reset_parameters()

    def features(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the features (N, H) before the head."""
        if x.dim() != 2 or x.shape[1] != self.in_channels or not x.is_floating_point():
            raise InputError(
                f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, {self.in_channels}), a row for"
                " each node"
            )
        counts = 1 + propagate(x.new_ones(x.shape[0], 1), edge_index)
        hidden = self.first((x + propagate(x, edge_index)) / counts).relu()
        hidden = F.normalize(hidden, dim=1)
        return self.second((hidden + propagate(hidden, edge_index)) / counts).relu()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Map (N, F) to (N, H)."""
        return F.normalize(self.head(self.features(x, edge_index)), dim=1)


def cluster_loss(
    z: Tensor,
    labels: Tensor,
    *,
    negatives: str = "allmax",
    margin: float = 1.0,
    positive_margin: float = 0.9,
    positive_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Return two losses to be added: of pairs of one label that are too far, and of two labels that are too near.

    With the cosines :math:`s = z z^\top`, over ordered pairs, a node with itself among them:

    .. math:: \alpha \operatorname*{mean}_{y_i = y_j} \max(0, m_+ - s_{ij}), \qquad
        \operatorname*{mean}_{\text{chosen } y_i \ne y_j} \max(0, m + s_{ij})

    A batch of one label has nothing to tell apart, and both losses are 0.

    Args:
        z: (B, H) rows of length one.
        labels: (B,) int64.
        negatives: which pairs of two labels are chosen: "allmax", the nearest one; "allall", all; "alltopk", the B
            nearest, or all if they are fewer; "maxmax", the nearest one, and the farthest alone of those of one label.
        margin: m.
        positive_margin: m_+.
        positive_weight: alpha.

    Raises:
        InputError: a shape is wrong, or negatives is unknown.

    Reference:
        Ada-NETS, arXiv 2202.03800, the published code.
    """
    check_choice("negatives", negatives, NEGATIVES)
    if z.dim() != 2 or labels.shape != z.shape[:1]:
        raise InputError(
            f"z of shape {tuple(z.shape)} and labels of shape {tuple(labels.shape)} must be (B, H) and (B,)"
        )
    cosines, is_same = z @ z.T, labels[:, None] == labels
    same, other = cosines[is_same], cosines[~is_same]
    if not other.numel():
        return 0 * z.sum(), 0 * z.sum()
    if negatives != "allall":
        other = other.topk(min(z.shape[0], other.numel()) if negatives == "alltopk" else 1).values
    if negatives == "maxmax":
        same = same.min()
    return positive_weight * (positive_margin - same).relu().mean(), (margin + other).relu().mean()


def connected_clusters(z: Tensor, *, threshold: float = 0.96, K: int = 121) -> Tensor:
    """Return the cluster (N,) of each node: what pairs of a cosine of at least `threshold` connect.

    Args:
        z: (N, H) without zero rows.
        threshold: smallest cosine, in [-1, 1].
        K: only pairs are looked at in which one node is among the K nearest of the other; N or more are all.

    Raises:
        InputError: an argument is out of range, or a row of z is zero or not finite.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold={threshold!r} must be a cosine, from -1 to 1")
    nodes = z.shape[0]
    indices, distances = nearest_lists(z.detach(), min(K, nodes))
    is_near = 1 - distances >= threshold
    targets, places = is_near.nonzero(as_tuple=True)
    pairs = (targets.cpu().numpy(), indices[targets, places].cpu().numpy())
    near = csr_array((is_near[targets, places].cpu().numpy(), pairs), shape=(nodes, nodes))
    return torch.from_numpy(connected_components(near, directed=False)[1]).long().to(z.device)
