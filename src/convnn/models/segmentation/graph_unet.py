"""A U-Net on volumes whose deepest level is a graph: of adjacent voxels, or of voxels with similar features."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.models._dense import layer_name
from convnn.models._registry import register_model
from convnn.models.segmentation.unet3d import FEATURES, UNet3d, scaled_features
from convnn.nn import LAYERS, GraphOnGrid3d, GraphOnMap3d, LayerFactory, layer_factory, list_layers

ADJACENCIES = ("grid", "knn")
GRIDS = {6: (1, True), 26: (1, False), 124: (2, False), 342: (3, False)}
"""Reach, and whether along single axes only, by the number of neighbours in a grid."""
NUMBER = {"grid": 26, "knn": 10}
"""The published numbers of neighbours."""

OF_NODES = "bottleneck.on_map.conv"
PUBLISHED_NAMES = {
    **{f"convolution_down_lev{i}_{j}": f"encoder.{i - 1}.{2 * j - 2}" for i in (1, 2) for j in (1, 2)},
    **{f"convolution_up_lev{i}_{j}": f"decoder.{2 - i}.{2 * j - 2}" for i in (1, 2) for j in (1, 2)},
    **{f"gnn_module.full_connect_{i}": f"{OF_NODES}.mlp.{2 * i - 2}" for i in (1, 2)},
    "gnn_module.layer_norm_1.gamma": f"{OF_NODES}.mlp.4.weight",
    "gnn_module.layer_norm_1.beta": f"{OF_NODES}.mlp.4.bias",
    **{
        f"gnn_module.graph_convol_{i}.{theirs}": f"{OF_NODES}.layers.{i - 1}.{ours}"
        for i in range(1, 5)
        for theirs, ours in {
            "weight_neighbour": "lin_l.weight",
            "bias": "lin_l.bias",
            "weight_self": "lin_r.weight",
        }.items()
    },
    "classification_last": "head",
}
"""Dotted parts of names in the published code, of three levels, and what they are called here."""


class NodeNorm(nn.Module):
    r"""Standardise the channels of each node: :math:`\gamma (x - \mu) / (s + \epsilon) + \beta`.

    Unlike in `torch.nn.LayerNorm`, s has n - 1 in its denominator, and epsilon stands outside of the root.

    Args:
        channels: n, at least 2.
        eps: epsilon.

    Raises:
        InputError: there are fewer than 2 channels.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        check_at_least("channels", channels, 2)
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        spread, mean = torch.std_mean(x, dim=-1, keepdim=True)
        return self.weight * (x - mean) / (spread + self.eps) + self.bias


class NodeLayers(nn.Module):
    r"""Layers on a graph, each followed by ReLU, after an MLP and a normalisation of each node.

    .. math:: h_0 = \operatorname{norm}(\sigma(W_2 \sigma(W_1 x + b_1) + b_2)), \qquad h_l = \sigma(f_l(h_{l-1}, E))

    Args:
        in_channels: channels of x.
        hidden: channels of all h but the last.
        out_channels: channels of the last.
        layer: creates f from input and output channels.
        num_layers: how many f there are.
        mlp: whether the MLP comes first; otherwise h_0 is x.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, layer: LayerFactory, num_layers: int, *, mlp: bool
    ) -> None:
        super().__init__()
        for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("num_layers", num_layers)):
            check_at_least(name, number, 1)
        check_at_least("hidden", hidden, 2)
        self.in_channels, self.out_channels = in_channels, out_channels
        linears = nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), NodeNorm(hidden)
        self.mlp = nn.Sequential(*linears) if mlp else nn.Identity()
        widths = [hidden if mlp else in_channels, *[hidden] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(map(layer, widths[:-1], widths[1:]))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Map features (N, C_in) of the nodes to (N, C_out)."""
        h = self.mlp(x)
        for layer in self.layers:
            h = layer(h, edge_index).relu()
        return h


class GraphBottleneck3d(nn.Module):
    """The layers of `NodeLayers` on the voxels of a volume, joined by place or by what they are.

    Args:
        in_channels: number of input channels.
        hidden: number of channels between the layers.
        out_channels: number of output channels.
        layer: the layer on graphs: its name, or a function from input and output channels to one. "SAGE", the mean of
            the neighbours beside the node itself, is published, and "GAT" with two layers and no MLP as a variant.
        adjacency: "grid", the voxels around; or "knn", those with the most similar input, found anew in every call.
        K: number of neighbours. On the grid 6, 26, 124 or 342, and the voxel itself besides; of the most similar 1 or
            more, the voxel itself among them. None is 26 or 10, as published.
        window: look for the most similar only at most so many voxels away along every axis; published is 5 as an
            option. None is everywhere.
        periodic: wrap the grid around the border, as published; otherwise border voxels have fewer neighbours.
        num_layers: number of layers on the graph.
        mlp: whether two linear maps and a normalisation come first.

    Shapes:
        input (B, C_in, D, H, W); output (B, C_out, D, H, W).

    Raises:
        InputError: an argument is out of range, or belongs to the other adjacency; in forward: there are fewer than K
            voxels to choose from.

    Reference:
        arXiv 1908.08588, and its code: NodeGNN and NodeGNNwithAttention.

    Example:
        >>> GraphBottleneck3d(4, 8, 6, adjacency="knn", K=5)(torch.randn(1, 4, 3, 4, 5)).shape
        torch.Size([1, 6, 3, 4, 5])
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        layer: str | LayerFactory = "SAGE",
        adjacency: str = "grid",
        K: int | None = None,
        window: int | None = None,
        periodic: bool = False,
        num_layers: int = 4,
        mlp: bool = True,
    ) -> None:
        super().__init__()
        check_choice("adjacency", adjacency, ADJACENCIES)
        K = NUMBER[adjacency] if K is None else K
        _check_adjacency(adjacency, K, window, periodic)
        conv = NodeLayers(in_channels, hidden, out_channels, graph_layers(layer), num_layers, mlp=mlp)
        self.on_map: nn.Module
        if adjacency == "grid":
            reach, faces = GRIDS[K]
            self.on_map = GraphOnGrid3d(conv, reach=reach, faces=faces, periodic=periodic)
        elif window is not None:
            self.on_map = GraphOnGrid3d(conv, reach=window, K=K)
        else:
            self.on_map = GraphOnMap3d(conv, K=K, metric="euclidean")
        self.adjacency, self.K = adjacency, K

    def forward(self, x: Tensor) -> Tensor:
        """Map a volume (B, C_in, D, H, W) to (B, C_out, D, H, W)."""
        if self.adjacency == "knn" and x.dim() == 5 and self.K > x.shape[2:].numel():
            sides = "x".join(map(str, x.shape[2:]))
            raise InputError(f"K={self.K} is more than the {x.shape[2:].numel()} voxels of the deepest map, {sides}")
        return self.on_map(x)

    @property
    def published_factor(self) -> float:
        """What a published sum over the neighbours is, in means over them: 1 / (K + 1) instead of 1 / K, or 1."""
        return self.K / (self.K + 1) if self.adjacency == "knn" else 1.0


class GraphUNet3d(UNet3d):
    """A U-Net on volumes whose deepest level is a `GraphBottleneck3d`.

    Args:
        features, levels, in_channels, num_classes: as in `UNet3d`. With 3 levels and 16 features it is the published
            network, of 226,689 parameters.
        layer, adjacency, K, window, periodic, num_layers, mlp: as in `GraphBottleneck3d`.

    Shapes:
        volumes (B, C, D, H, W), whose sides are multiples of 2^(L-1); logits (B, num_classes, D, H, W).

    Raises:
        InputError: an argument is out of range; in forward: the volumes have other channels or sides, or the deepest
            map has fewer than K voxels to choose from.

    Reference:
        Garcia-Uceda Juarez, Selvan, Saghir and de Bruijne, "A Joint 3D UNet-Graph Neural Network-Based Method for
        Airway Segmentation from Chest CTs", arXiv 1908.08588, with padded convolutions.

    Example:
        >>> GraphUNet3d(4, adjacency="knn", K=5)(torch.randn(1, 1, 8, 12, 16)).shape
        torch.Size([1, 1, 8, 12, 16])
    """

    default_layer: ClassVar[str] = "SAGE"
    reads: ClassVar[str] = "graphs"
    published_names: ClassVar[Mapping[str, str]] = PUBLISHED_NAMES

    def __init__(
        self,
        features: int = FEATURES,
        levels: int = 3,
        *,
        in_channels: int = 1,
        num_classes: int = 1,
        layer: str | LayerFactory = default_layer,
        adjacency: str = "grid",
        K: int | None = None,
        window: int | None = None,
        periodic: bool = False,
        num_layers: int = 4,
        mlp: bool = True,
    ) -> None:
        bottleneck = partial(
            GraphBottleneck3d,
            layer=layer,
            adjacency=adjacency,
            K=K,
            window=window,
            periodic=periodic,
            num_layers=num_layers,
            mlp=mlp,
        )
        super().__init__(features, levels, in_channels=in_channels, num_classes=num_classes, bottleneck=bottleneck)
        self.is_published = self.is_own(layer)

    def arranged(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return published tensors under our names: matrices are transposed there, and sums are no means."""
        factor = self.bottleneck.published_factor if isinstance(self.bottleneck, GraphBottleneck3d) else 1.0
        factors = {"lin_l.weight": factor, "lin_r.weight": 1.0}
        found = super().arranged(named)
        for name, tensor in found.items():
            end = ".".join(name.split(".")[-2:])
            if name.startswith(OF_NODES) and end in factors:
                found[name] = factors[end] * tensor.mT
        return found


DECIDED = ("features", "adjacency", "window", "periodic", "mlp")
"""What the functions below decide."""


@register_model(GraphUNet3d, decided=DECIDED)
def unet_gnn(
    layer: str | LayerFactory = GraphUNet3d.default_layer, *, width: float = 1.0, K: int = 26, **settings: Any
) -> GraphUNet3d:
    """U-Net on volumes above a graph that joins every voxel to those around it."""
    return GraphUNet3d(scaled_features(width), layer=layer, K=K, **settings)


@register_model(GraphUNet3d, decided=DECIDED)
def unet_gnn_knn(
    layer: str | LayerFactory = GraphUNet3d.default_layer, *, width: float = 1.0, K: int = 10, **settings: Any
) -> GraphUNet3d:
    """U-Net on volumes above a graph that joins every voxel to the most similar ones."""
    return GraphUNet3d(scaled_features(width), layer=layer, adjacency="knn", K=K, **settings)


def graph_layers(layer: str | LayerFactory) -> LayerFactory:
    """Return the function from input and output channels to a layer on graphs.

    Raises:
        InputError: the layer is unknown, or reads something else, or is neither name nor function.
    """
    if callable(layer):
        return layer
    name = layer_name(layer)
    if (reads := LAYERS[name].reads) != "graphs":
        known = ", ".join(list_layers("graphs"))
        raise InputError(f"layer={name!r} reads {reads}; choose one that reads graphs: {known}")
    return layer_factory(name)


def _check_adjacency(adjacency: str, K: int, window: int | None, periodic: bool) -> None:
    """Refuse settings that are out of range, or of the other adjacency."""
    if adjacency == "grid":
        if K not in GRIDS:
            raise InputError(f"K={K!r} must be one of {', '.join(map(str, GRIDS))} with adjacency='grid'")
        if window is not None:
            raise InputError(f"window={window!r} must be None with adjacency='grid', whose neighbours K says")
        return
    check_at_least("K", K, 1)
    if window is not None:
        check_at_least("window", window, 1)
    if periodic:
        raise InputError("periodic=True must be False with adjacency='knn', which knows no border")
