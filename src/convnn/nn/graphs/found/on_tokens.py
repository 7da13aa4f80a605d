"""Any graph layer as a layer on tokens: the search finds the graph."""

from collections.abc import Iterable

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._field import Field
from convnn.nn._layer import TokenLayer
from convnn.nn._search import Search
from convnn.nn._settings import unless_usual
from convnn.nn.graphs.found._found import FoundGraph, channels_of
from convnn.ops import Neighbors, check_backend


class GraphOnTokens(TokenLayer):
    """A graph layer on tokens, each joined to its K most similar: `GraphOnMap` for sequences (B, T, D).

    All channels are compared together: there is one graph, and no heads.

    Args:
        conv: the graph layer, with as many output as input channels.
        K, loop, edge_weights, metric: as in `GraphOnMap`.
        sampling_type, num_samples, sample_padding: as in `ConvNNAttention`.
        search, recall, probes, lists: as in `GraphOnMap`.
        backend: as in `GraphOnMap`.
        dim: number of channels, where the graph layer does not have it as an attribute.

    Shapes:
        input and output (B, T, D) or (T, D).

    Raises:
        InputError: as for `GraphOnMap`, or the graph layer changes the number of channels.

    Example:
        >>> import torch
        >>> from convnn.nn.graphs.found.convnn import GraphConvNN
        >>> GraphOnTokens(GraphConvNN(24, 24, K=5), K=5)(torch.randn(2, 10, 24)).shape
        torch.Size([2, 10, 24])
    """

    def __init__(
        self,
        conv: nn.Module,
        *,
        K: int = 9,
        loop: bool = True,
        edge_weights: str = "none",
        sampling_type: str = "all",
        num_samples: int = -1,
        sample_padding: int = 0,
        metric: str = "cosine",
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        backend: str = "auto",
        dim: int | None = None,
    ) -> None:
        inside, outside = channels_of(conv, dim, dim)
        if inside != outside:
            raise InputError(f"conv={type(conv).__name__}({inside}, {outside}) must keep the number of channels")
        super().__init__(inside, num_heads=1)
        searched = Search(
            K=K,
            sampling_type=sampling_type,
            num_samples=num_samples,
            sample_padding=sample_padding,
            metric=metric,
            search=search,
            recall=recall,
            probes=probes,
            lists=lists,
        )
        check_backend(backend)
        self.graph = FoundGraph(searched, loop, edge_weights)
        self.graph.check(conv)
        self.conv = conv
        self.backend = backend

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every token of x (B, T, D), with their similarities."""
        self.check_input(x)
        field = Field.of_tokens(x if x.dim() == 3 else x.unsqueeze(0))
        return self.graph.neighbors(field, training=self.training, backend=self.backend)

    def _forward(self, x: Tensor) -> Tensor:
        return self.graph.apply(self.conv, Field.of_tokens(x), training=self.training, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return the graph and the backend."""
        return self.graph, unless_usual(backend=(self.backend, "auto"))
