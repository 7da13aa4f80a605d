"""A graph with a colour for each node, and the neighbours of one node."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from convnn.errors import InputError
from convnn.viz.figure import COLORS, FAINT, INK, own_style, save_figure, write_legend, write_title

if TYPE_CHECKING:
    import networkx as nx

MOST_NODES = 5000
"""A larger graph is drawn without its whole, only with the neighbours of a node."""

NEAR = 60
"""The largest number of nodes beside the one whose neighbours are drawn: the nearest."""

SIDE = 5.0
"""Side of a panel in inches."""


@own_style()
def draw_graph(
    edge_index: Tensor,
    groups: Tensor,
    path: Path | str,
    *,
    names: Sequence[str],
    title: str,
    wrong: Tensor | None = None,
    node: int | None = None,
) -> Path:
    """Draw a graph, and beside it one node with the nodes within two edges of it.

    Places are those of the spring layout of networkx, the same every time: joined nodes attract each other.

    Args:
        edge_index: (2, E) edges; the picture does not show their direction.
        groups: (N,) int64, the group of each node, such as its predicted class, which decides the colour.
        path: the picture, .png, .pdf or .svg.
        names: name of each group.
        title: its title.
        wrong: (N,) bool, nodes with a dark ring, such as those that are misclassified; None rings none.
        node: the node whose neighbours to draw; None draws the graph alone.

    Returns:
        The path.

    Raises:
        InputError: `node` is outside the graph, or the graph has more than `MOST_NODES` nodes and no node is given.
        OutputError: the file cannot be written.
    """
    import networkx as nx  # takes a third of a second to import

    count = len(groups)
    if node is not None and not 0 <= node < count:
        raise InputError(f"node={node} must lie between 0 and {count - 1}")
    if node is None and count > MOST_NODES:
        raise InputError(f"a graph of {count:,} nodes is too large to draw; give a node, to draw its neighbours")
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edge_index.T.tolist())
    parts = [graph] * (count <= MOST_NODES) + ([] if node is None else [_near(graph, node)])
    figure = Figure(figsize=(SIDE * len(parts) + 1.3, SIDE + 0.4), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    colors = _colors(len(names))[groups.cpu().numpy()]
    rings = np.zeros(count, bool) if wrong is None else wrong.cpu().numpy()
    for panel, part in zip(panels, parts, strict=True):
        _draw(panel, part, colors, rings, node)
    write_title(panels[0], title)
    if node is not None:
        write_title(panels[-1], f"within two edges of node {node}" if len(parts) > 1 else title)
    present = groups.unique().tolist()
    dots: list[Any] = [Line2D([], [], marker="o", ls="", color=tuple(_colors(len(names))[group])) for group in present]
    rims = [Line2D([], [], marker="o", ls="", markerfacecolor="none", color=INK)] if rings.any() else []
    write_legend(figure, dots + rims, [names[group] for group in present] + ["wrong"] * len(rims))
    return save_figure(figure, path)


def _near(graph: "nx.Graph[int]", node: int) -> "nx.Graph[int]":
    """Return the graph of a node and the nearest nodes within two edges."""
    import networkx as nx

    distances = nx.single_source_shortest_path_length(graph, node, cutoff=2)
    return graph.subgraph(sorted(distances, key=lambda other: (distances[other], other))[: NEAR + 1])


def _draw(panel: Axes, graph: "nx.Graph[int]", colors: NDArray[Any], rings: NDArray[Any], node: int | None) -> None:
    import networkx as nx

    where = nx.spring_layout(graph, seed=0)
    order = sorted(graph)
    places = np.array([where[one] for one in order])
    size = float(np.clip(6000 / len(order), 6, 160))
    lines = [(where[a], where[b]) for a, b in graph.edges if a != b]
    strength = float(np.clip(200 / (len(lines) + 1), 0.25, 0.7))  # many edges would be one grey
    panel.add_collection(LineCollection(lines, colors=FAINT, linewidths=min(1.0, size / 40), alpha=strength, zorder=1))
    edges = [INK if rings[one] else "white" for one in order]
    widths = [max(0.8, size / 80) if rings[one] else size / 200 for one in order]
    panel.scatter(places[:, 0], places[:, 1], s=size, c=colors[order], edgecolors=edges, linewidths=widths, zorder=2)
    if node is not None:
        panel.scatter(
            where[node][0], where[node][1], s=5 * size + 60, facecolors="none", edgecolors=INK, linewidths=1.5, zorder=3
        )
    panel.set_aspect("equal", adjustable="datalim")
    panel.set_axis_off()


def _colors(count: int) -> NDArray[Any]:
    """Return a colour for each group; those of more than twenty repeat."""
    if count <= len(COLORS):
        return np.array([matplotlib.colors.to_rgba(color) for color in COLORS])
    wheel = matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
    return np.array([wheel(number % wheel.N) for number in range(count)])
