"""Embedding of the features of all neighbours, a multiset, by how they are distributed over a mixture."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import Aggregation, MessagePassing
from torch_geometric.utils import degree

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs.multisets.clustering import some_rows, spherical_kmeans
from convnn.nn.graphs.multisets.kernel_projection import KernelProjection
from convnn.ops.edges import lists_of_edges
from convnn.ops.ragged import Lists, total

ATTENTIONS = ("softmax", "posterior")
PROJECTIONS = ("kernel", "relu")


class FisherMixture(nn.Module):
    r"""Means of lists of features, one for each component of a mixture, less the mean of the component.

    .. math::
        r_{jkc} = \frac{e^{s_{jkc}}}{\sum_l e^{s_{jlc}}}, \quad
        s_{jkc} = \frac{\langle x_j / \lVert x_j \rVert, \mu_{kc} \rangle + b_{kc}}{\tau}, \qquad
        u_{vkc} = \sum_{j \in N(v)} \frac{a(r_{jkc})}{\sum_{i \in N(v)} a(r_{ikc})} x_j - \mu_{kc}

    r is the posterior of the components k for each head c. With :math:`a(r) = r` a step is that of expectation
    maximisation; the published one has :math:`a(r) = e^r`, which is nearer to the plain mean. An empty list gives
    -mu. With one component, the means are plain.

    Args:
        in_channels: number of input channels, D.
        num_mixtures: number of components, P.
        num_heads: number of mixtures, H.
        temperature: tau.
        subtract_mean: whether mu is subtracted.
        attention: "softmax" for the exponential of the posterior, "posterior" for itself.

    Shapes:
        x (T, D), N lists among them; output (N, P H D).

    Raises:
        InputError: a number is not positive, or attention is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        num_mixtures: int,
        num_heads: int = 1,
        *,
        temperature: float = 1.0,
        subtract_mean: bool = True,
        attention: str = "softmax",
    ) -> None:
        super().__init__()
        check_at_least("num_mixtures", num_mixtures, 1)
        check_at_least("num_heads", num_heads, 1)
        check_choice("attention", attention, ATTENTIONS)
        check_positive("temperature", temperature)
        self.temperature, self.subtract_mean, self.attention = temperature, subtract_mean, attention
        self.weight = nn.Parameter(torch.empty(num_mixtures, num_heads, in_channels))
        self.bias = nn.Parameter(torch.empty(num_mixtures, num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the means of the components on the unit sphere, and set their biases to 0."""
        with torch.no_grad():
            self.weight.copy_(F.normalize(torch.randn_like(self.weight), dim=-1))
        nn.init.zeros_(self.bias)

    @property
    def out_channels(self) -> int:
        """P H D."""
        return self.weight.numel()

    def posterior(self, x: Tensor) -> Tensor:
        """Return the probabilities (T, P, H) of the components for each row of x (T, D)."""
        scores = torch.einsum("td,phd->tph", F.normalize(x, dim=1), self.weight) + self.bias
        return (scores / self.temperature).softmax(1)

    def forward(self, x: Tensor, lists: Lists) -> Tensor:
        """Return the embedding (N, P H D) of N lists of rows of x (T, D)."""
        factors = self.posterior(x).flatten(1)
        factors = factors.exp() if self.attention == "softmax" else factors
        weighted = (factors.unsqueeze(2) * x.unsqueeze(1)).flatten(1)  # a factor is that of a row, whatever its list
        sums, norms = total(torch.cat([weighted, factors], 1), lists).split([weighted.shape[1], factors.shape[1]], 1)
        means = sums.unflatten(1, (-1, x.shape[1])) / norms.masked_fill(norms == 0, 1).unsqueeze(2)
        return (means - self.weight.flatten(0, 1) if self.subtract_mean else means).flatten(1)


class FisherEmbedding(MessagePassing):
    r"""Fisher information embedding: how the neighbours of a node are distributed over a mixture, and a projection.

    The neighbours are embedded by `FisherMixture` with the temperature D, the number of input channels, and the result
    is projected by `KernelProjection`, or by a linear layer, batch normalisation and ReLU. The layer adds no
    self-loops, which the published experiments have; multiple edges count as often as they occur.

    Args:
        in_channels: number of input channels, D.
        out_channels: number of output channels; without a projection num_mixtures * num_heads * D.
        num_mixtures: number of components of the mixture.
        num_heads: number of mixtures.
        subtract_mean: whether the mean of each component is subtracted.
        projection: "kernel", "relu", or None for none.
        kernel: "exp" or "linear", of the first.
        sigma: width of the first kernel.
        use_degree: whether the output is multiplied by log(1 + d), with d the number of edges that leave the node.
        attention: "softmax" as published, or "posterior", the step of expectation maximisation.

    Shapes:
        x (N, D), or a pair of x for sources and targets of which only the number matters; edge_index (2, E); output
        (N, C_out).

    Raises:
        InputError: a number is not positive, a choice is unknown, or shapes do not agree.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, and its code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_mixtures: int = 8,
        num_heads: int = 1,
        subtract_mean: bool = True,
        projection: str | None = "kernel",
        kernel: str = "exp",
        sigma: float = 0.5,
        use_degree: bool = False,
        attention: str = "softmax",
    ) -> None:
        super().__init__()
        if projection is not None:
            check_choice("projection", projection, PROJECTIONS)
        self.in_channels, self.out_channels, self.use_degree = in_channels, out_channels, use_degree
        self.mixture = FisherMixture(
            in_channels,
            num_mixtures,
            num_heads,
            temperature=in_channels,
            subtract_mean=subtract_mean,
            attention=attention,
        )
        width = self.mixture.out_channels
        self.projection: nn.Module = nn.Identity()
        if projection == "kernel":
            self.projection = KernelProjection(width, out_channels, kernel=kernel, sigma=sigma)
        elif projection == "relu":
            self.projection = nn.Sequential(nn.Linear(width, out_channels), nn.BatchNorm1d(out_channels), nn.ReLU())
        elif out_channels != width:
            raise InputError(f"out_channels={out_channels} must be {width} without a projection")

    def forward(self, x: Tensor | tuple[Tensor, Tensor], edge_index: Tensor) -> Tensor:
        """Map (N, D) to (N, C_out)."""
        sources, targets = (x, x) if isinstance(x, Tensor) else x
        check_features(sources, self.in_channels)
        out: Tensor = self.projection(self.embed(sources, edge_index, targets.shape[0]))
        if self.use_degree:
            if not isinstance(x, Tensor):
                raise InputError("use_degree=True must be False for sources and targets that are not the same nodes")
            out = out * degree(edge_index[0], sources.shape[0], out.dtype).log1p().unsqueeze(1)
        return out

    def embed(self, x: Tensor, edge_index: Tensor, targets: int) -> Tensor:
        """Return the embedding (targets, P H D) before the projection."""
        lists, _ = lists_of_edges(edge_index, (x.shape[0], targets))
        embedding: Tensor = self.mixture(x, lists)
        return embedding

    @torch.no_grad()
    def fit_anchors(
        self, x: Tensor, edge_index: Tensor, generator: torch.Generator | None = None, samples: int = 100_000
    ) -> None:
        """Set the means of the components, and the anchors of a kernel projection, without labels.

        Both are the centres that `spherical_kmeans` finds, of the neighbours' features and of their embeddings. Every
        head starts from other rows; the published code sets the first head alone.

        Args:
            x: (N, D).
            edge_index: (2, E).
            generator: draws the rows that are clustered, and those at which clustering starts.
            samples: the largest number of rows that are clustered.

        Raises:
            InputError: there are fewer rows than centres.
        """
        components, heads, _ = self.mixture.weight.shape
        for head in range(heads):
            rows = some_rows(x[edge_index[0]], samples, generator)
            self.mixture.weight[:, head] = spherical_kmeans(rows, components, generator=generator)
        if isinstance(self.projection, KernelProjection):
            rows = some_rows(self.embed(x, edge_index, x.shape[0]), samples, generator)
            anchors = self.projection.weight
            anchors.copy_(spherical_kmeans(rows, anchors.shape[0], generator=generator))


class FisherPooling(Aggregation):
    """Fisher information embedding of all nodes of a graph, and a projection.

    The nodes of each graph are embedded by `FisherMixture` with temperature 1, and the result is projected by
    `KernelProjection`, or by a linear layer and ReLU.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        num_mixtures: number of components of the mixture.
        num_heads, subtract_mean, projection, kernel, sigma, attention: as in `FisherEmbedding`.

    Shapes:
        x (N, D), index (N,) the graph of each node; output (B, C_out).

    Raises:
        InputError: a number is not positive, a choice is unknown, or shapes do not agree.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, and its code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_mixtures: int = 8,
        num_heads: int = 1,
        subtract_mean: bool = True,
        projection: str = "kernel",
        kernel: str = "exp",
        sigma: float = 0.5,
        attention: str = "softmax",
    ) -> None:
        super().__init__()
        check_choice("projection", projection, PROJECTIONS)
        self.in_channels = in_channels
        self.mixture = FisherMixture(
            in_channels, num_mixtures, num_heads, subtract_mean=subtract_mean, attention=attention
        )
        self.projection: nn.Module = (
            KernelProjection(self.mixture.out_channels, out_channels, kernel=kernel, sigma=sigma)
            if projection == "kernel"
            else nn.Sequential(nn.Linear(self.mixture.out_channels, out_channels), nn.ReLU())
        )

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Map (N, D) to (B, C_out)."""
        check_features(x, self.in_channels)
        index = x.new_zeros(x.shape[0], dtype=torch.long) if index is None else index
        graphs = dim_size if dim_size is not None else int(index.max()) + 1 if index.numel() else 0
        out: Tensor = self.projection(self.mixture(x, Lists.of_targets(index, graphs)))
        return out
