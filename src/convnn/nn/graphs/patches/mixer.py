"""The network on patches of graphs: an encoder of each patch, then blocks that mix the patches as tokens."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn.graphs._checks import check_edge_features, check_features
from convnn.nn.graphs.patches.cut import Patches
from convnn.nn.graphs.patches.mixing import MIXINGS, make_mixing
from convnn.ops import ragged
from convnn.ops.ragged import Lists

POOLINGS = {"mean": ragged.mean, "sum": ragged.total, "max": ragged.maximum}


class Encodings(NamedTuple):
    """Where nodes and patches are in their graphs; None is nothing of the kind.

    Attributes:
        walks: (N, k) `node_walks`.
        eigenvectors: (N, k) `node_eigenvectors`.
        patch_walks: (B, P, k) `walk_encoding` of the coarse graph.
        adjacency: (B, P, P) `coarse_adjacency`, which some attention reads.
    """

    walks: Tensor | None = None
    eigenvectors: Tensor | None = None
    patch_walks: Tensor | None = None
    adjacency: Tensor | None = None


NO_ENCODINGS = Encodings()


class NormedMap(nn.Module):
    r"""A linear map without bias, batch normalisation over the rows, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in) to (N, C_out)."""
        return self.norm(self.linear(x)).relu()


class PatchLayer(nn.Module):
    r"""A layer within each patch, with a shortcut; before it, but for the first, nodes hear of their patches.

    .. math:: x \leftarrow \operatorname{mean}_{\text{copies}}(x + m(\operatorname{pool}_{\text{patch}} x)), \qquad
        y = W (\operatorname{ReLU}(\operatorname{norm}(f(x))) + x) + b
    """

    def __init__(self, conv: nn.Module, channels: int, *, exchanges: bool, dropout: float) -> None:
        super().__init__()
        self.exchange = NormedMap(channels, channels) if exchanges else None
        self.conv = conv
        self.norm = nn.BatchNorm1d(channels)
        self.output = nn.Linear(channels, channels)
        self.dropout = dropout

    def forward(
        self, x: Tensor, edge_attr: Tensor | None, patches: Patches, pool: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Map copies of nodes (S, C) to (S, C)."""
        if self.exchange is not None:
            x = x + self.exchange(pool(x))[patches.patch]
            x = ragged.mean(x, Lists.of_targets(patches.node, patches.graph_of.shape[0]))[patches.node]
        features = {} if edge_attr is None else {"edge_attr": edge_attr}
        y = F.dropout(self.norm(self.conv(x, patches.edge_index, **features)).relu(), self.dropout, self.training)
        return self.output(y + x)


class GraphPatchMixer(nn.Module):
    r"""Graph ViT or MLP-Mixer on graphs: patches are encoded by a stack of layers, pooled, and mixed as tokens.

    .. math:: h = E x + m_1(\text{walks}) + m_2(\text{eigenvectors}), \qquad
        t_p = \operatorname{pool}_{\text{patch } p} \operatorname{layers}(h) + m_3(\text{walks}_p), \qquad
        y = \operatorname{MLP} \bigl( \operatorname{mean}_{p \text{ not empty}} \operatorname{mix}(t)_p \bigr)

    Each m is a `NormedMap`. The output depends on how the graph was divided, and only on average not on the order of
    its nodes. Batch normalisations of the published code that nothing reads are left out.

    Args:
        in_channels: features of a node.
        hidden: C, channels of nodes and tokens.
        out_channels: length of the output.
        num_patches: P.
        layer: function from input and output channels to a layer called with x and edge_index, and with edge_attr where
            there is `edge_channels`.
        num_layers: number of layers within patches.
        num_mixers: number of blocks that mix tokens.
        mixing: "mlp", `TokenMLP`, or the kind of a `PatchAttention`.
        pooling: "mean", "sum" or "max" over the nodes of a patch; an empty patch is 0.
        walk_dim: length of `Encodings.walks`; 0: none.
        eigenvector_dim: length of `Encodings.eigenvectors`; 0: none.
        patch_walk_dim: length of `Encodings.patch_walks`; 0: none.
        edge_channels: features of an edge; None: there are none.
        heads: number of heads of an attention, a divisor of C.
        dropout: probability within patches, 0 to 1.
        mixer_dropout: probability in the blocks, 0 to 1.

    Shapes:
        x (N, in_channels), edge_attr (E, edge_channels); output (B, out_channels).

    Raises:
        InputError: an argument is out of range; in forward: an encoding is missing, or has another shape.

    Reference:
        He et al., "A Generalization of ViT/MLP-Mixer to Graphs", arXiv 2212.13350.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        num_patches: int,
        *,
        layer: Callable[[int, int], nn.Module],
        num_layers: int = 4,
        num_mixers: int = 4,
        mixing: str = "mlp",
        pooling: str = "mean",
        walk_dim: int = 0,
        eigenvector_dim: int = 0,
        patch_walk_dim: int = 8,
        edge_channels: int | None = None,
        heads: int = 8,
        dropout: float = 0.0,
        mixer_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"hidden": hidden, "num_patches": num_patches, "num_layers": num_layers, "heads": heads}
        for name, size in sizes.items():
            check_at_least(name, size, 1)
        check_at_least("num_mixers", num_mixers, 0)
        check_choice("mixing", mixing, MIXINGS)
        check_choice("pooling", pooling, POOLINGS)
        check_fraction("dropout", dropout)
        self.in_channels, self.edge_channels, self.pooling = in_channels, edge_channels, pooling
        self.encoder = nn.Linear(in_channels, hidden)
        self.edge_encoder = None if edge_channels is None else nn.Linear(edge_channels, hidden)
        self.lengths = {"walks": walk_dim, "eigenvectors": eigenvector_dim, "patch_walks": patch_walk_dim}
        self.of_encodings = nn.ModuleDict()
        for name, length in self.lengths.items():
            check_at_least(name, length, 0)
            if length:
                self.of_encodings[name] = NormedMap(length, hidden)
        self.layers = nn.ModuleList(
            PatchLayer(layer(hidden, hidden), hidden, exchanges=number > 0, dropout=dropout)
            for number in range(num_layers)
        )
        self.mixers = nn.ModuleList(
            make_mixing(mixing, hidden, num_patches, heads, mixer_dropout) for _ in range(num_mixers)
        )
        self.norm = nn.LayerNorm(hidden) if mixing == "mlp" else nn.Identity()
        self.head = nn.Sequential(NormedMap(hidden, hidden), nn.Linear(hidden, out_channels))

    def forward(
        self, x: Tensor, patches: Patches, encodings: Encodings = NO_ENCODINGS, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Map features (N, in_channels) to (B, out_channels)."""
        return self.head(self.pooled(self.tokens(x, patches, encodings, edge_attr), patches))

    def pooled(self, tokens: Tensor, patches: Patches) -> Tensor:
        """Return the mean (B, C) of the tokens (B, P, C) of the patches that are not empty."""
        weights = patches.mask.to(tokens.dtype).unsqueeze(-1)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)

    def tokens(
        self, x: Tensor, patches: Patches, encodings: Encodings = NO_ENCODINGS, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Return the mixed tokens of all patches, (B, P, C)."""
        check_features(x, self.in_channels)
        self._check(encodings)
        h = self._encoded("walks", encodings, self._encoded("eigenvectors", encodings, self.encoder(x)))[patches.node]
        lists = Lists.of_targets(patches.patch, patches.mask.numel())

        def pool(copies: Tensor) -> Tensor:
            return POOLINGS[self.pooling](copies, lists)

        edges = self._edges(edge_attr, patches)
        for layer in self.layers:
            h = layer(h, edges, patches, pool)
        tokens = self._encoded("patch_walks", encodings, pool(h)).unflatten(0, patches.mask.shape)
        for mixer in self.mixers:
            tokens = mixer(tokens, patches.mask, encodings.adjacency)
        return self.norm(tokens)

    def _encoded(self, name: str, encodings: Encodings, x: Tensor) -> Tensor:
        """Add to rows what one of the encodings says of them."""
        if not self.lengths[name]:
            return x
        return x + self.of_encodings[name](getattr(encodings, name).flatten(0, -2).to(x.dtype))

    def _edges(self, edge_attr: Tensor | None, patches: Patches) -> Tensor | None:
        """Return the encoded features of the copies of edges."""
        if self.edge_encoder is None:
            if edge_attr is not None:
                raise InputError(f"edge_attr of shape {tuple(edge_attr.shape)} is not read; set edge_channels")
            return None
        count = edge_attr.shape[0] if edge_attr is not None else 0
        check_edge_features(edge_attr, count, self.edge_channels or 0)
        assert edge_attr is not None
        return self.edge_encoder(edge_attr)[patches.edge]

    def _check(self, encodings: Encodings) -> None:
        for name, length in self.lengths.items():
            found: Tensor | None = getattr(encodings, name)
            if length and (found is None or found.shape[-1] != length):
                given = None if found is None else f"of shape {tuple(found.shape)}"
                raise InputError(f"encodings.{name} {given} must have {length} columns, as the network was built")


def mean_of_patches(tokens: Tensor, patches: Patches) -> Tensor:
    """Return the mean of the tokens of the patches that hold each node, (N, C), of tokens (B, P, C)."""
    return ragged.mean(tokens.flatten(0, 1)[patches.patch], Lists.of_targets(patches.node, patches.graph_of.shape[0]))
