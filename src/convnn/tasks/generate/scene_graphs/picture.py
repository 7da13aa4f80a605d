"""Scene graphs as pictures: their boxes, and below them the graph of their relations."""

from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from convnn.ops.scene_graphs import SPATIAL, SceneGraphs, spatial_relations
from convnn.viz.figure import COLORS, FAINT, INK, own_style, save_figure, write_plainly, write_title

MOST = 6
"""How many graphs a picture shows."""


@own_style()
def draw_scene_graphs(graphs: SceneGraphs, path: Path | str, *, title: str = "") -> Path:
    """Draw the first six scene graphs: boxes above, and below an arrow for each relation, from centre to centre.

    With the predicates of `spatial_relations`, relations that do not follow from the boxes are dashed.

    Args:
        graphs: scene graphs.
        path: the picture, .png, .pdf or .svg.
        title: what stands above.

    Returns:
        The path.

    Raises:
        InputError: the suffix is unknown.
        OutputError: the file cannot be written.
    """
    graphs = graphs[:MOST]
    figure = Figure(figsize=(2.1 * max(2, len(graphs)), 4.9), layout="constrained")
    panels = figure.subplots(2, len(graphs), squeeze=False)
    is_spatial = graphs.predicates in (SPATIAL, SPATIAL[:3])
    inside = len(graphs.predicates) == len(SPATIAL)
    right = spatial_relations(graphs.boxes, graphs.flags, inside=inside) if is_spatial else graphs.relations
    for row, (upper, lower) in enumerate(panels.T):
        _draw_boxes(upper, graphs, row)
        _draw_relations(lower, graphs, row, right)
        for panel in (upper, lower):
            panel.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])
            panel.spines[:].set_color(FAINT)
    if title:
        write_title(panels[0, 0], title)
    _write_legend(figure, graphs, is_spatial=is_spatial)
    return save_figure(figure, path)


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _fill(kind: int) -> tuple[float, ...]:
    """Return the pale colour of a category; arrows have the strong ones."""
    pale = colormaps["Set2"]
    return tuple(pale(kind % pale.N))


def _draw_boxes(panel: Axes, graphs: SceneGraphs, row: int) -> None:
    for place in graphs.flags[row].nonzero().flatten().tolist():
        x, y, w, h = graphs.boxes[row, place].tolist()
        kind = int(graphs.types[row, place])
        panel.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, facecolor=_fill(kind), alpha=0.55, linewidth=0))
        panel.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, edgecolor=FAINT, linewidth=0.8))
        text = panel.text(x, y, "", ha="center", va="center", fontsize=7.5, color=INK)
        write_plainly(text, f"{place + 1} {graphs.categories[kind]}")


def _draw_relations(panel: Axes, graphs: SceneGraphs, row: int, right: torch.Tensor) -> None:
    import networkx  # takes a quarter of a second to import

    graph = networkx.DiGraph()
    graph.add_nodes_from(graphs.flags[row].nonzero().flatten().tolist())
    centres = {place: graphs.boxes[row, place, :2].tolist() for place in graph}
    colors = [_fill(int(graphs.types[row, place])) for place in graph]
    pairs = graphs.flags[row].unsqueeze(0) & graphs.flags[row].unsqueeze(1)
    for i, j in (graphs.relations[row] * pairs).nonzero().tolist():
        relation = int(graphs.relations[row, i, j])
        style = "-" if relation == int(right[row, i, j]) else "--"
        networkx.draw_networkx_edges(
            graph,
            centres,
            edgelist=[(i, j)],
            ax=panel,
            edge_color=_color(relation - 1),
            style=style,
            arrowsize=9,
            node_size=150,
            width=1.2,
            connectionstyle="arc3,rad=0.08",
        )
    networkx.draw_networkx_nodes(graph, centres, ax=panel, node_size=150, node_color=colors, edgecolors=FAINT)
    labels = {place: str(place + 1) for place in graph}
    networkx.draw_networkx_labels(graph, centres, labels, ax=panel, font_size=7.5, font_color=INK)


def _write_legend(figure: Figure, graphs: SceneGraphs, *, is_spatial: bool) -> None:
    used = graphs.relations.unique().tolist()
    names = [(n, name) for n, name in enumerate(graphs.predicates) if n and n in used][: len(COLORS)]
    lines = [Line2D([], [], color=_color(n - 1), linewidth=1.4) for n, _ in names]
    words = [name for _, name in names]
    if is_spatial:
        lines.append(Line2D([], [], color=FAINT, linewidth=1.4, linestyle="--"))
        words.append("not as the boxes say")
    legend = figure.legend(
        lines, [""] * len(words), loc="outside lower center", ncols=len(words), frameon=False, fontsize=8
    )
    for text, name in zip(legend.get_texts(), words, strict=True):
        write_plainly(text, name)
