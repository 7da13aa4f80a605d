"""The denoiser of DiffuseSG: attention in windows of the pairs of nodes, in the form of a U."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_positive
from convnn.models.scene_graphs._parts import Block, FiLM, Level, Merge, NoiseEmbedding, Split, draw_linear, mlp
from convnn.objectives.denoising import edm_scaling
from convnn.ops.dense_graphs import DenseGraphs, check_graphs, pairs_of


class SceneGraphDenoiser(nn.Module):
    r"""A Swin U-Net on the table of all pairs of nodes, which reads and returns nodes and edges together.

    Cell (i, j) of an N x N map holds the edge from i to j and both its nodes. Each cell selects those of its window,
    weighs them by attention with a bias for each offset, and sums; `depths` blocks at each resolution, on the way down
    and again on the way up, with skips between. The edges are read from the cells, the nodes from the means of their
    rows. Windows and biases depend on the order of the nodes: the network is not equivariant to permutations.

    Args:
        max_nodes: N, a multiple of patch times 2 to the number of levels but one.
        edge_channels: number of channels of an edge, E.
        node_channels: number of channels of a node, C.
        dim: number of channels of the first level, even; every level doubles it.
        depths: number of blocks of each level.
        heads: number of heads of each level, a divisor of its channels.
        window: side of the windows, a divisor of the side of every level that is larger; every second block shifts them
            by half of it.
        patch: side of the squares of cells that are embedded together.
        mlp_ratio: ratio of the hidden channels of an MLP to those it reads.
        noise_channels: number of channels of the embedding of noise.
        self_condition: read an earlier estimate of the graphs too.

    Shapes:
        adjacency (B, E, N, N), nodes (B, N, C), flags (B, N) bool, noise (B,); the estimates are like the graphs.

    Raises:
        InputError: an argument is out of range; in forward: shapes do not fit, or a condition is given that the network
            does not read.

    Reference:
        Xu et al., "Joint Generative Modeling of Scene Graphs and Images via Diffusion Models", arXiv 2401.01130, in
        the form of its code, DiffuseSG; Liu et al., "Swin Transformer", arXiv 2103.14030.

    Example:
        >>> network = SceneGraphDenoiser(8, 1, 5, dim=8, depths=(2, 1), heads=(2, 2), window=4, noise_channels=16)
        >>> graphs, flags = DenseGraphs(torch.randn(2, 1, 8, 8), torch.randn(2, 8, 5)), torch.ones(2, 8).bool()
        >>> [tuple(part.shape) for part in network(graphs, flags, torch.zeros(2))]
        [(2, 1, 8, 8), (2, 8, 5)]
    """

    def __init__(
        self,
        max_nodes: int,
        edge_channels: int,
        node_channels: int,
        *,
        dim: int = 96,
        depths: Sequence[int] = (1, 1, 3, 1),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 8,
        patch: int = 1,
        mlp_ratio: float = 4.0,
        noise_channels: int = 512,
        self_condition: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"max_nodes": max_nodes, "edge_channels": edge_channels, "node_channels": node_channels}
        _check(sizes, dim, depths, heads, window, patch, noise_channels)
        check_positive("mlp_ratio", mlp_ratio)
        self.max_nodes, self.channels = max_nodes, (edge_channels, node_channels)
        self.self_condition = self_condition
        self.noise = NoiseEmbedding(dim, noise_channels)
        images = (edge_channels + 2 * node_channels) * (2 if self_condition else 1)
        self.embed, self.embed_norm = nn.Conv2d(images, dim, patch, patch), nn.LayerNorm(dim)
        self.embed_film = FiLM(noise_channels, dim)

        def blocks(level: int) -> list[Block]:
            side = max_nodes // (patch << level)
            shift = window // 2 if side > window else 0
            return [
                Block(dim << level, heads[level], min(window, side), shift * (i % 2), mlp_ratio, noise_channels)
                for i in range(depths[level])
            ]

        last = len(depths) - 1
        self.down = nn.ModuleList(Level(blocks(i), Merge(dim << i) if i < last else None) for i in range(last + 1))
        self.up = nn.ModuleList(Level(blocks(i), Split(dim << i) if i < last else None) for i in range(last, -1, -1))
        self.norm = nn.LayerNorm(dim)
        self.readout = nn.Sequential(
            nn.ConvTranspose2d(dim, dim, patch, patch), nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        )
        self.edge_head, self.node_head = mlp(dim, dim, edge_channels), mlp(dim, dim, node_channels)
        self.apply(draw_linear)

    def forward(
        self, graphs: DenseGraphs, flags: Tensor, noise: Tensor, condition: DenseGraphs | None = None
    ) -> DenseGraphs:
        """Return what F makes of graphs.

        Args:
            graphs: adjacency (B, E, N, N) and nodes (B, N, C).
            flags: (B, N) bool, which nodes there are.
            noise: (B,) the level of noise as the network reads it.
            condition: an earlier estimate of the same graphs; None is 0.
        """
        self._check_input(graphs, flags, noise, condition)
        there = pairs_of(flags)
        images = self._as_images(graphs, there.unsqueeze(1), condition)
        noise = self.noise(noise)
        h = self.embed_film(self.embed_norm(self.embed(images).movedim(1, -1)), noise)
        skips = []
        for level in cast("Iterable[Level]", self.down):
            h = level(h, noise)
            if level.resample is not None:
                h = level.resample(h)
                skips.append(h)
        for level in cast("Iterable[Level]", self.up):
            if level.resample is not None:
                h = level.resample(torch.cat([h, skips.pop()], dim=-1))
            h = level(h, noise)
        cells = self.readout(self.norm(h).movedim(-1, 1)).movedim(1, -1) * there.unsqueeze(3)
        nodes = self.node_head(cells.mean(2))  # over N, not over the nodes that there are
        return DenseGraphs(self.edge_head(cells).movedim(-1, 1), nodes).masked(flags)

    def _as_images(self, graphs: DenseGraphs, there: Tensor, condition: DenseGraphs | None) -> Tensor:
        """Return maps of pairs: their edge, their first and their second node, each after its earlier estimate."""
        edges, nodes = graphs
        if self.self_condition:
            before = DenseGraphs(*(torch.zeros_like(part) for part in graphs)) if condition is None else condition
            edges, nodes = torch.cat([before.adjacency, edges], 1), torch.cat([before.nodes, nodes], 2)
        of_node = nodes.mT.unsqueeze(3).expand(-1, -1, -1, nodes.shape[1])
        return torch.cat([edges, of_node * there, of_node.mT * there], dim=1)

    def _check_input(self, graphs: DenseGraphs, flags: Tensor, noise: Tensor, condition: DenseGraphs | None) -> None:
        check_graphs(graphs, flags)
        if (graphs.adjacency.shape[1], graphs.nodes.shape[2]) != self.channels or flags.shape[1] != self.max_nodes:
            edges, nodes = self.channels
            shapes = f"{tuple(graphs.adjacency.shape)} and {tuple(graphs.nodes.shape)}"
            n = self.max_nodes
            raise InputError(f"graphs of shapes {shapes} must be (B, {edges}, {n}, {n}) and (B, {n}, {nodes})")
        if noise.shape != flags.shape[:1]:
            raise InputError(f"noise of shape {tuple(noise.shape)} must be ({flags.shape[0]},), a level for each graph")
        if condition is not None and not self.self_condition:
            raise InputError("condition is not read by a network with self_condition=False")
        if condition is not None:
            check_graphs(condition, flags)


class EDMPrecond(nn.Module):
    r"""A denoiser with the factors of `edm_scaling` around it.

    .. math:: D(x, s) = c_{skip}\, x + c_{out}\, F(c_{in}\, x, c_{noise})

    for nodes and edges alike, with 0 where there is no node.

    Args:
        network: F, called as `SceneGraphDenoiser` is.
        sigma_data: standard deviation of the data.

    Raises:
        InputError: `sigma_data` is not positive; in forward: a level of noise is not.

    Reference:
        Karras et al., arXiv 2206.00364, equation 7.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        check_positive("sigma_data", sigma_data)
        self.network, self.sigma_data = network, sigma_data

    def forward(
        self, graphs: DenseGraphs, flags: Tensor, sigma: Tensor, condition: DenseGraphs | None = None
    ) -> DenseGraphs:
        """Return graphs without noise of levels `sigma` (B,)."""
        c = edm_scaling(sigma, self.sigma_data)
        into, skip, out = ((of_edge := one.view(-1, 1, 1, 1), of_edge[..., 0]) for one in (c.into, c.skip, c.out))
        scaled = DenseGraphs(*(part * factor for part, factor in zip(graphs, into, strict=True)))
        found = self.network(scaled, flags, c.noise, condition)
        sums = [s * x + o * f for s, x, o, f in zip(skip, graphs, out, found, strict=True)]
        return DenseGraphs(*sums).masked(flags)


def _check(
    sizes: dict[str, int],
    dim: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: int,
    patch: int,
    noise_channels: int,
) -> None:
    for name, value in {
        **sizes,
        "dim": dim,
        "window": window,
        "patch": patch,
        "noise_channels": noise_channels,
    }.items():
        check_at_least(name, value, 1)
    if dim % 2:
        raise InputError(f"dim={dim} must be even: levels of noise are embedded by pairs of cosine and sine")
    if not depths or len(heads) != len(depths) or min(depths) < 1:
        raise InputError(f"depths={tuple(depths)} and heads={tuple(heads)} must be as many, and depths at least 1")
    least = patch << (len(depths) - 1)
    if sizes["max_nodes"] % least:
        raise InputError(f"max_nodes={sizes['max_nodes']} must be a multiple of {least}, the patch at the last level")
    for level, number in enumerate(heads):
        side = sizes["max_nodes"] // (patch << level)
        if side > window and side % window:
            raise InputError(f"window={window} must divide {side}, the side of level {level}")
        if number < 1 or (dim << level) % number:
            raise InputError(f"heads[{level}]={number} must divide the {dim << level} channels of its level")
