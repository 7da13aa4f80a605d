"""Pictures of graphs: colours are groups, rings are mistakes, and a node has its neighbours beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from convnn.errors import InputError
from convnn.viz import draw_graph, graphs
from convnn.viz.figure import COLORS, INK

# A path of five nodes and a node apart.
EDGES = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 4], [1, 2, 3, 4, 0, 1, 2, 3]])
GROUPS = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the figures instead of writing them."""
    figures: list[Any] = []
    monkeypatch.setattr(graphs, "save_figure", lambda figure, path: figures.append(figure) or path)
    return figures


def _dots(panel: Any) -> PathCollection:
    return next(one for one in panel.collections if isinstance(one, PathCollection))


def test_nodes_have_the_colour_of_their_group_and_mistakes_a_ring(drawn: list[Any]) -> None:
    wrong = torch.tensor([False, True, False, False, False, False])
    draw_graph(EDGES, GROUPS, "graph.png", names=["a", "b", "c"], title="t", wrong=wrong)
    (panel,) = drawn[0].axes
    dots = _dots(panel)
    assert [tuple(color) for color in dots.get_facecolors()] == [to_rgba(COLORS[group]) for group in GROUPS]
    ringed = [tuple(color) == to_rgba(INK) for color in dots.get_edgecolors()]
    assert ringed == wrong.tolist()
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["a", "b", "c", "wrong"]


def test_a_node_has_those_within_two_edges_beside_it(drawn: list[Any]) -> None:
    draw_graph(EDGES, GROUPS, "graph.png", names=["a", "b", "c"], title="t", node=0)
    whole, near = drawn[0].axes
    assert len(_dots(whole).get_offsets()) == 6
    assert len(_dots(near).get_offsets()) == 3  # 0, 1 and 2
    assert near.get_title(loc="left") == "within two edges of node 0"


def test_a_large_graph_is_drawn_around_the_node_only(drawn: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_NODES", 5)
    draw_graph(EDGES, GROUPS, "graph.png", names=["a", "b", "c"], title="t", node=5)
    (panel,) = drawn[0].axes
    assert len(_dots(panel).get_offsets()) == 1
    with pytest.raises(InputError, match="a graph of 6 nodes is too large to draw; give a node"):
        draw_graph(EDGES, GROUPS, "graph.png", names=["a", "b", "c"], title="t")


def test_a_picture_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = (
        draw_graph(EDGES, GROUPS, tmp_path / name, names=list("abcdefgh"), title="t", node=2).read_bytes()
        for name in ("1.png", "2.png")
    )
    assert first == second


@pytest.mark.parametrize("node", [-1, 6])
def test_a_node_outside_the_graph_is_refused(node: int) -> None:
    with pytest.raises(InputError, match=f"node={node} must lie between 0 and 5"):
        draw_graph(EDGES, GROUPS, "graph.png", names=["a", "b", "c"], title="t", node=node)
