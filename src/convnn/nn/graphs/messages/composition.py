"""Maps of features that share one graph: composition hands the same graph to every one of them.

Neighbours are chosen once and used in every layer. `torch_geometric.nn.Sequential("x, edge_index, edge_weight", [...])`
is the same composition, of a list that does not change.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convnn.errors import InputError, check_at_least
from convnn.ops.edges import edge_index_of, from_dense, from_neighbors, propagate
from convnn.ops.neighbors import Neighbors
from convnn.ops.ragged import Lists

Widths = tuple[int | None, int | None]
Edges = tuple[Tensor, Tensor | None]
Graph = Tensor | Lists | Neighbors | tuple[Tensor | Lists, Tensor | None]
"""A (n, n), floating, where A_ij weighs the edge from j to i; or edges, or a pair of edges and their weights (E,).

Edges are edge_index (2, E), lists of the neighbours of each node, or K neighbours of each node.
"""


class Para(nn.Module):
    """A map f(A, p, x) of features x, whose parameters p do not see the graph A.

    `f >> g` is f, then g, on the same graph: (g after f)(A, (p, q), x) = g(A, q, f(A, p, x)), with the parameters in
    the order of the layers. Composition is associative, `Para.identity()` is its unit, and the gradient of A is the sum
    over the layers. A module that occurs twice has its parameters once, as everywhere in PyTorch.

    A subclass defines `forward(graph, x)` from features (n, k) to (n, k'); `Para.of` takes a layer of PyTorch
    Geometric, and `Para.pointwise` a function of the features alone.

    Args:
        widths: k and k', or None where a number is not known before the call.

    Raises:
        InputError: in composition: the other is not a Para, or reads another number of channels; in forward: the graph
            does not fit the features.

    Reference:
        Gavranovic and Villani, "Graph Convolutional Neural Networks as Parametric CoKleisli morphisms", arXiv
        2212.00542.

    Example:
        >>> from convnn.nn.graphs import GCNN
        >>> network = GCNN(3, 8, activation=torch.tanh) >> GCNN(8, 2)
        >>> network(torch.rand(5, 5), torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, widths: Widths = (None, None)) -> None:
        super().__init__()
        self.widths = widths

    @property
    def layers(self) -> tuple["Para", ...]:
        """The maps that it is composed of, first layer first."""
        return (self,)

    @staticmethod
    def identity() -> "Para":
        """Return the map of x to x, without parameters."""
        return Composite()

    @staticmethod
    def of(layer: nn.Module) -> "Para":
        """Return a layer of PyTorch Geometric, called as layer(x, edge_index[, edge_weight]), as a map."""
        return OnEdges(layer)

    @staticmethod
    def pointwise(function: Callable[[Tensor], Tensor]) -> "Para":
        """Return a function or module of the features alone, such as an activation, as a map."""
        return Pointwise(function)

    def then(self, other: "Para") -> "Para":
        """Return this map followed by the other, on the same graph; `f >> g` is `f.then(g)`."""
        if not isinstance(other, Para):
            raise InputError(f"{type(other).__name__} must be a Para: wrap a layer by Para.of, a function by pointwise")
        return Composite(*self.layers, *other.layers)

    def __rshift__(self, other: "Para") -> "Para":
        return self.then(other)

    def locally(self, graphs: Sequence[Graph], x: Tensor) -> Tensor:
        """Map x with a graph of its own for each layer; the map on one graph is this with copies of it."""
        if len(graphs) != len(self.layers):
            raise InputError(f"graphs must be {len(self.layers)}, one for each layer, not {len(graphs)}")
        before = "x"
        for layer, graph in zip(self.layers, graphs, strict=True):
            if layer.widths[0] not in (None, x.shape[-1]):
                raise InputError(f"{layer} reads {layer.widths[0]} channels, but {before} has {x.shape[-1]}")
            x, before = layer(graph, x), f"the output of {layer}"
        return x

    def reparameterise(self, function: Callable[..., Sequence[Tensor]], *parameters: Tensor) -> "Para":
        """Return the map f(A, r(p'), x), with parameters p' of its own.

        Args:
            function: r, from the tensors p' to a tensor for each of `parameters()`, in their order. To tie weights is
                to return one tensor several times.
            parameters: p'.
        """
        return Reparameterised(self, function, parameters)


class Composite(Para):
    """Several maps, one after the other."""

    def __init__(self, *layers: Para) -> None:
        for one, other in pairwise(layers):
            if None not in (one.widths[1], other.widths[0]) and one.widths[1] != other.widths[0]:
                raise InputError(f"{one} returns {one.widths[1]} channels, but {other} reads {other.widths[0]}")
        super().__init__((layers[0].widths[0], layers[-1].widths[1]) if layers else (None, None))
        self.maps = nn.ModuleList(layers)

    @property
    def layers(self) -> tuple[Para, ...]:
        """The maps that it is composed of, first layer first."""
        return tuple(self.maps)  # type: ignore[arg-type]

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Map features (n, k) to (n, k')."""
        graph = as_graph(graph, x.shape[-2])
        return self.locally([graph] * len(self.maps), x)


class GCNN(Para):
    r"""Graph convolution :math:`\sigma(A X W)` with any real A: signed, asymmetric, with or without a diagonal.

    Args:
        in_channels: k.
        out_channels: k'.
        activation: sigma, a function of (n, k'); None is the identity.

    Shapes:
        graph A (n, n), or edges; x (n, k), or (..., n, k) for several on one graph; output (n, k'); weight (k, k').

    Raises:
        InputError: a number of channels is less than 1; in forward: A or x has another shape.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, activation: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        super().__init__((in_channels, out_channels))
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.activation = activation
        nn.init.xavier_uniform_(self.weight)

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Map features (n, k) to (n, k')."""
        if x.dim() < 2 or x.shape[-1] != self.widths[0]:
            raise InputError(f"x of shape {tuple(x.shape)} must be (n, {self.widths[0]}), a row for each node")
        y = aggregate(as_graph(graph, x.shape[-2]), x @ self.weight)
        return y if self.activation is None else self.activation(y)

    def extra_repr(self) -> str:
        """Return the numbers of channels."""
        return f"{self.widths[0]}, {self.widths[1]}"


class OnEdges(Para):
    """A layer of PyTorch Geometric, called as layer(x, edge_index), or with edge_weight if the graph has weights."""

    def __init__(self, layer: nn.Module) -> None:
        channels = getattr(layer, "in_channels", None)
        super().__init__((channels if isinstance(channels, int) and channels > 0 else None, None))
        self.layer = layer

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Map features (n, k) to (n, k')."""
        graph = as_graph(graph, x.shape[-2])
        edge_index, edge_weight = from_dense(graph.T) if isinstance(graph, Tensor) else graph
        return self.layer(x, edge_index) if edge_weight is None else self.layer(x, edge_index, edge_weight)


class Pointwise(Para):
    """A function of the features alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, _: Graph, x: Tensor) -> Tensor:
        """Map features (n, k) to (n, k')."""
        return self.function(x)


class Reparameterised(Para):
    """A map whose parameters are functions of others."""

    def __init__(self, of: Para, function: Callable[..., Sequence[Tensor]], parameters: Sequence[Tensor]) -> None:
        super().__init__(of.widths)
        self.map, self.function = deepcopy(of), function
        self.free = nn.ParameterList(parameters)
        order = {parameter: place for place, parameter in enumerate(self.map.parameters())}
        self.places = {name: order[one] for name, one in self.map.named_parameters(remove_duplicate=False)}
        for name in self.places:  # no parameters of this map: buffers, which its calls replace
            owner, _, attribute = name.rpartition(".")
            module = self.map.get_submodule(owner)
            value = module._parameters.pop(attribute, None)
            if value is not None:  # a module that occurs twice has been here before
                module.register_buffer(attribute, value.detach(), persistent=False)

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Map features (n, k) to (n, k')."""
        values = list(self.function(*self.free))
        count = len(set(self.places.values()))
        if len(values) != count:
            raise InputError(f"the reparameterisation returns {len(values)} tensors; it must return {count}")
        return functional_call(self.map, {name: values[place] for name, place in self.places.items()}, (graph, x))


def as_graph(graph: Graph, nodes: int) -> Tensor | Edges:
    """Return a graph as A (n, n), or as edge_index (2, E) and weights (E,) or None.

    Raises:
        InputError: A is not (n, n), where n is the number of nodes.
    """
    if isinstance(graph, Neighbors):
        return from_neighbors(graph)[:2]
    if isinstance(graph, Tensor) and graph.is_floating_point():
        if graph.shape != (nodes, nodes):
            raise InputError(f"A of shape {tuple(graph.shape)} must be ({nodes}, {nodes}) for x of {nodes} rows")
        return graph
    edges, weights = graph if isinstance(graph, tuple) else (graph, None)
    return (edge_index_of(edges) if isinstance(edges, Lists) else edges), weights


def aggregate(graph: Tensor | Edges, x: Tensor) -> Tensor:
    """Return A x, (n, k)."""
    return graph @ x if isinstance(graph, Tensor) else propagate(x, *graph)


def check_laws(f: Para, g: Para, h: Para, graph: Graph, x: Tensor) -> dict[str, float]:
    """Return by how much composition breaks its laws: for each law the largest difference of outputs.

    They hold to rounding for maps without random draws, and the last one where maps do not depend on the order of the
    nodes.

    Args:
        f, g, h: maps that can be composed in this order.
        graph: the graph of all.
        x: features (n, k) that f reads.

    Raises:
        InputError: the maps cannot be composed, or do not fit the graph.
    """
    one = Para.identity()
    graph = as_graph(graph, x.shape[-2])
    order = torch.arange(x.shape[0] - 1, -1, -1, device=x.device)
    whole = f >> g >> h

    def difference(a: Any, b: Any) -> float:
        return float((a - b).abs().max()) if a.numel() else 0.0

    with torch.no_grad():
        y = whole(graph, x)
        return {
            "identity first": difference((one >> f)(graph, x), f(graph, x)),
            "identity last": difference((f >> one)(graph, x), f(graph, x)),
            "associativity": difference((f >> (g >> h))(graph, x), ((f >> g) >> h)(graph, x)),
            "one graph is copies of it": difference(whole.locally([graph] * len(whole.layers), x), y),
            "in steps": difference(h(graph, g(graph, f(graph, x))), y),
            "another order of the nodes": difference(whole(reordered(graph, order), x[order]), y[order]),
        }


def reordered(graph: Tensor | Edges, order: Tensor) -> Tensor | Edges:
    """Return the graph whose node i is node order[i] of this one."""
    if isinstance(graph, Tensor):
        return graph[order][:, order]
    return order.argsort()[graph[0]], graph[1]
