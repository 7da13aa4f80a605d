"""Pooling of graphs into clusters of equal size between which few edges run."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP
from torch_geometric.utils import to_dense_batch

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs.multisets.total_variation import check_dense


class AsymCheegerCutPool(nn.Module):
    r"""Pooling by a learned assignment of the nodes to K clusters, whose losses need no labels.

    .. math:: S = \mathrm{softmax}(\mathrm{MLP}(X)), \qquad X' = S^T X, \qquad A' = S^T A S

    The losses are `total_variation_loss`, that few edges are cut, and `asymmetric_balance_loss`, that clusters are of
    equal size. With a mask, both count the padded nodes, as the published code does.

    Args:
        k: K, the number of clusters, at least 2; it may be larger than a graph.
        mlp_channels: numbers of channels of the MLP, the input's first and without K; it is linear at the end.
        mlp_activation: the activation between its layers, by the name that PyTorch Geometric resolves.
        totvar_coeff: factor of the first loss.
        balance_coeff: factor of the second.
        bias: whether the linear maps of the MLP have biases.
        return_selection: whether S is returned.
        return_pooled_graph: whether X' and A' are.

    Shapes:
        x (B, N, C) or (N, C), adj (B, N, N) or (N, N), mask (B, N); output: S (B, N, K) if it is asked for, X'
        (B, K, C) and A' (B, K, K) if they are, and both losses.

    Raises:
        InputError: k is below 2, mlp_channels are empty, neither result is asked for, or shapes do not agree.

    Reference:
        Hansen and Bianchi, "Total Variation Graph Neural Networks", arXiv 2211.06218, and the code published with it.
    """

    def __init__(
        self,
        k: int,
        mlp_channels: Sequence[int],
        *,
        mlp_activation: str = "relu",
        totvar_coeff: float = 1.0,
        balance_coeff: float = 1.0,
        bias: bool = True,
        return_selection: bool = True,
        return_pooled_graph: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("k", k, 2)
        if not mlp_channels:
            raise InputError("mlp_channels must have at least one number, that of the input's channels")
        if not return_selection and not return_pooled_graph:
            raise InputError("return_selection or return_pooled_graph must be true, or there is no result")
        self.mlp = MLP([*mlp_channels, k], act=mlp_activation, norm=None, bias=bias)
        self.totvar_coeff, self.balance_coeff = totvar_coeff, balance_coeff
        self.return_selection, self.return_pooled_graph = return_selection, return_pooled_graph
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as Glorot and Bengio do, and set the biases to 0."""
        for layer in self.mlp.lins:
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, adj: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return S, X', A', as far as they are asked for, and the two losses."""
        x = x.unsqueeze(0) if x.dim() == 2 else x
        pooled_x, pooled_adj, s, cut, balance = dense_asym_cheeger_cut_pool(x, adj, self.mlp(x), mask)
        selection = (s,) if self.return_selection else ()
        graph = (pooled_x, pooled_adj) if self.return_pooled_graph else ()
        return *selection, *graph, self.totvar_coeff * cut, self.balance_coeff * balance


def dense_asym_cheeger_cut_pool(
    x: Tensor, adj: Tensor, s: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    r"""Pool graphs by a given assignment; see `AsymCheegerCutPool`.

    Args:
        x: (B, N, C) features.
        adj: (B, N, N).
        s: (B, N, K) assignment before its softmax.
        mask: (B, N), true for nodes.

    Returns:
        X' (B, K, C), A' (B, K, K), S (B, N, K), the loss of the total variation and that of the balance.

    Raises:
        InputError: shapes do not agree.
    """
    x, adj, s = (tensor.unsqueeze(0) if tensor.dim() == 2 else tensor for tensor in (x, adj, s))
    nodes = x.shape[:2]
    check_dense(adj, nodes)
    s = s.softmax(-1)
    if mask is not None:
        is_node = mask.view(*nodes, 1).to(x.dtype)
        x, s = x * is_node, s * is_node
    pooled_x, pooled_adj = s.mT @ x, s.mT @ adj @ s
    distances = torch.cdist(s, s, p=1)
    edges = (adj != 0).sum((1, 2)).clamp_min(1)
    cut = ((adj * distances).sum((1, 2)) / (2 * edges)).mean()  # `total_variation_loss`, with a slope for every pair
    return pooled_x, pooled_adj, s, cut, asymmetric_balance_loss(s)


def asymmetric_balance_loss(s: Tensor, batch: Tensor | None = None) -> Tensor:
    r"""Return how far the clusters are from equal sizes: 0 for equal ones, 1 for a uniform assignment.

    .. math::
        1 - \frac{1}{N (K - 1)} \sum_{k} \sum_{i} \rho(S_{ik} - q_k), \qquad
        \rho(d) = \begin{cases} (K - 1) d & d \ge 0 \\ -d & d < 0 \end{cases}

    where q_k is the entry of rank N / K, rounded down, of column k in descending order, from rank 0.

    Args:
        s: (N, K), or (B, N, K) for graphs of N nodes each, padded or not; the loss is the mean over graphs.
        batch: (N,) the graph of each node of s (N, K), for graphs of any size. The published code counts padded nodes
            instead, as the other form does.

    Raises:
        InputError: K is below 2, or shapes do not agree.

    Reference:
        Hansen and Bianchi, "Total Variation Graph Neural Networks", arXiv 2211.06218.
    """
    clusters = s.shape[-1]
    check_at_least("the number of clusters", clusters, 2)
    if batch is not None and batch.shape != s.shape[:-1]:
        raise InputError(f"batch of shape {tuple(batch.shape)} must be {tuple(s.shape[:1])}, the graph of each node")
    s, is_node = to_dense_batch(s, batch, fill_value=-1) if s.dim() == 2 else (s, s.new_ones(s.shape[:2]))
    sizes = is_node.sum(1).long()
    ranks = (sizes // clusters).view(-1, 1, 1).expand(-1, 1, clusters)
    quantiles = s.sort(dim=1, descending=True, stable=True).values.gather(1, ranks)
    above = s - quantiles
    deviations = torch.where(above >= 0, (clusters - 1) * above, -above) * is_node.unsqueeze(2).to(s.dtype)
    largest = (sizes * (clusters - 1)).clamp_min(1).to(s.dtype)
    return (1 - deviations.sum((1, 2)) / largest).mean()
