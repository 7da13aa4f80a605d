"""Graphs as sequences of patches, which an MLP or attention mixes."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice, check_rate
from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory, graphs
from convnn.nn.graphs.batch import GraphBatch
from convnn.nn.graphs.patches.cut import Patches, coarse_adjacency, cut_patches, node_walks, walk_encoding
from convnn.nn.graphs.patches.mixer import POOLINGS, Encodings, GraphPatchMixer, mean_of_patches
from convnn.nn.graphs.patches.mixing import NEED_ADJACENCY
from convnn.nn.graphs.patches.partition import grow_parts


class GraphPatches(Network):
    """Graph ViT or MLP-Mixer (He et al., arXiv 2212.13350): `GraphPatchMixer` with any layer on graphs.

    Parts grow from nodes far apart (`grow_parts`); in training they change with every step, because a share of the
    edges is left out while they grow, and a graph of fewer nodes than patches has them at random places. A graph has
    its class from the mean of all its patches; where nodes are classified, which the paper does not do, each has it
    from the mean of those that it is in.

    Args:
        layer: function from input and output channels to a layer called with x (N, C) and edge_index (2, E).
        in_channels: number of features of the nodes.
        num_classes: number of classes.
        width: factor on d_hidden.
        d_hidden: number of channels of nodes and patches, for attention a multiple of 8, its heads.
        num_layers: number of layers within the patches.
        num_mixers: number of blocks that mix the patches.
        num_patches: number of patches of each graph.
        patch_hops: a patch reaches so many edges beyond its part.
        partition_drop: share of the edges that are left out in training while parts grow, at least 0 and below 1.
        mixing: "mlp", or attention: "standard", "hadamard", "graph", "kernel" or "additive"; see `PatchAttention`.
        diffusion: steps of a walk on the coarse graph that attention reads; 0: how many nodes patches share.
        readout: "mean", "sum" or "max" over the nodes of each patch.
        walk_dim: length of the walks by which nodes know where they are; 0: they do not.
        eigenvector_dim: number of eigenvectors of the graph for the same purpose.
        patch_walk_dim: length of the walks on the coarse graph for patches.
        dropout: probability within patches, 0 to 1.
        mixer_dropout: probability in the blocks that mix them, 0 to 1.

    Raises:
        InputError: an argument is out of range; in forward: the features have another shape, or there is no node.
    """

    reads: ClassVar[str] = "graphs"
    default_layer: ClassVar[str] = "GIN"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 128,
        num_layers: int = 4,
        num_mixers: int = 4,
        num_patches: int = 32,
        patch_hops: int = 1,
        partition_drop: float = 0.3,
        mixing: str = "mlp",
        diffusion: int = 0,
        readout: str = "mean",
        walk_dim: int = 0,
        eigenvector_dim: int = 0,
        patch_walk_dim: int = 8,
        dropout: float = 0.0,
        mixer_dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("patch_hops", patch_hops, 0)
        check_at_least("diffusion", diffusion, 0)
        check_rate("partition_drop", partition_drop)
        check_choice("readout", readout, POOLINGS)
        self.num_patches, self.patch_hops, self.partition_drop = num_patches, patch_hops, partition_drop
        self.mixing, self.diffusion = mixing, diffusion
        self.walk_dim, self.eigenvector_dim, self.patch_walk_dim = walk_dim, eigenvector_dim, patch_walk_dim
        self.mixer = GraphPatchMixer(
            in_channels,
            self.scaled(d_hidden),
            num_classes,
            num_patches,
            layer=layer,
            num_layers=num_layers,
            num_mixers=num_mixers,
            mixing=mixing,
            pooling=readout,
            walk_dim=walk_dim,
            eigenvector_dim=eigenvector_dim,
            patch_walk_dim=patch_walk_dim,
            dropout=dropout,
            mixer_dropout=mixer_dropout,
        )

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """The map from features to logits."""
        return self.mixer.head

    def forward(self, graph: GraphBatch) -> Tensor:
        """Map graphs to logits (B, num_classes), of its `nodes` where there is one graph with such."""
        x = graph.x
        if x.dim() != 2 or x.shape[1] != self.in_channels or not len(x):
            raise InputError(f"x of shape {tuple(x.shape)} must be (N, {self.in_channels}), with a row for each node")
        return self.forward_head(self.forward_features(graph))

    def forward_features(self, graph: GraphBatch) -> Tensor:
        """Map graphs to features (B, F), of its `nodes` where there is one graph with such."""
        patches = self.patches(graph)
        tokens = self.mixer.tokens(graph.x, patches, self.encodings(graph, patches))
        if graph.graph_of is None:
            of_nodes = mean_of_patches(tokens, patches)
            return of_nodes if graph.nodes is None else of_nodes[graph.nodes]
        return self.mixer.pooled(tokens, patches)

    @torch.no_grad()
    def patches(self, graph: GraphBatch) -> Patches:
        """Return the patches of graphs, in training others with every call."""
        graph_of, count = graph.graph_of, graph.num_graphs
        if graph_of is None:
            graph_of, count = graph.edge_index.new_zeros(len(graph.x)), 1
        edges = graph.edge_index
        if self.training and self.partition_drop:
            edges = edges[:, torch.rand(edges.shape[1], device=edges.device) >= self.partition_drop]
        parts = grow_parts(edges, graph_of, count, self.num_patches)
        if self.training:
            parts = self._at_random_places(parts, graph_of, count)
        return cut_patches(graph.edge_index, parts, graph_of, count, parts=self.num_patches, num_hops=self.patch_hops)

    def _at_random_places(self, parts: Tensor, graph_of: Tensor, count: int) -> Tensor:
        """Give the parts of graphs that have fewer nodes than patches other numbers."""
        order = torch.rand(count, self.num_patches, device=parts.device).argsort(1)
        is_small = graph_of.bincount(minlength=count) < self.num_patches
        return torch.where(is_small[graph_of], order[graph_of, parts], parts)

    @torch.no_grad()
    def encodings(self, graph: GraphBatch, patches: Patches) -> Encodings:
        """Return what the network reads of where nodes and patches are."""
        where, dtype = (graph.edge_index, patches.graph_of, len(patches.mask)), graph.x.dtype
        walks = node_walks(*where, self.walk_dim, dtype) if self.walk_dim else None
        vectors = graphs.node_eigenvectors(*where, self.eigenvector_dim).to(dtype) if self.eigenvector_dim else None
        of_patches = adjacency = None
        if self.patch_walk_dim:
            of_patches = walk_encoding(coarse_adjacency(patches, dtype), self.patch_walk_dim)
        if self.mixing in NEED_ADJACENCY:
            adjacency = coarse_adjacency(patches, dtype, self.diffusion)
        return Encodings(walks, vectors, of_patches, adjacency)


@register_model(GraphPatches)
def graph_patches(layer: LayerFactory, **settings: Any) -> GraphPatches:
    """Graph MLP-Mixer, or with --mixing standard Graph ViT: patches of graphs, encoded and then mixed."""
    return GraphPatches(layer, **settings)
