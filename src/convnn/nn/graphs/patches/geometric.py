"""What patches of graphs take from PyTorch Geometric: a convolution that reads edges, and eigenvectors."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GINEConv
from torch_geometric.transforms import AddLaplacianEigenvectorPE


class GINE(GINEConv):
    r"""Graph isomorphism network with features of edges, and an MLP with batch normalisation.

    .. math:: y_i = W_2 \operatorname{ReLU}(\operatorname{norm}(W_1 ((1 + \varepsilon) x_i
        + \sum_{j \to i} \operatorname{ReLU}(x_j + e_{ij}))))

    Args:
        in_channels: channels of each node, and of each edge.
        out_channels: channels of the output.

    Reference:
        Hu et al., "Strategies for Pre-training Graph Neural Networks", arXiv 1905.12265; as in arXiv 2212.13350.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        first, second = (nn.Linear(n, out_channels, bias=False) for n in (in_channels, out_channels))
        super().__init__(nn.Sequential(first, nn.BatchNorm1d(out_channels), nn.ReLU(), second), train_eps=True)
        self.in_channels = in_channels
        self.out_channels = out_channels


def node_eigenvectors(edge_index: Tensor, graph_of: Tensor, num_graphs: int, count: int) -> Tensor:
    r"""Return eigenvectors 1 to k of :math:`I - D^{-1/2} A D^{-1/2}` of each graph, (N, k).

    They are those of `AddLaplacianEigenvectorPE`, and 0 where a graph has fewer. Their sign, which is arbitrary, makes
    the entry farthest from 0 positive.

    Args:
        edge_index: (2, E) int64, the edges of all graphs, both ways.
        graph_of: (N,) int64 in ascending order, the graph of each node.
        num_graphs: number of graphs.
        count: k.
    """
    found = torch.zeros(graph_of.shape[0], count)
    ends = graph_of.bincount(minlength=num_graphs).cumsum(0).tolist()
    of_edges, edges = graph_of[edge_index[0]].cpu(), edge_index.cpu()
    for graph, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        vectors = min(count, end - start - 1)
        if vectors > 0:
            data = Data(edge_index=edges[:, of_edges == graph] - start, num_nodes=end - start)
            of_graph = AddLaplacianEigenvectorPE(vectors, "vectors")(data).vectors
            farthest = of_graph.gather(0, of_graph.abs().argmax(0, keepdim=True))
            found[start:end, :vectors] = of_graph * farthest.sign()
    return found.to(graph_of.device)
