"""What one pixel looks at in the layers of other papers, computed by the layers themselves."""

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn import functional as F

from convnn import nn as layers
from figures import panels
from figures.panels import Cell, Row
from figures.steps import QUERY, K, digit

EDGE: Cell = (0, 3)  # on the border
CHANNELS = 9


def patches() -> Tensor:
    """Return what the layers compare: the 3 x 3 pixels around each, (1, 9, 8, 8)."""
    return F.unfold(digit(), 3, padding=1).unflatten(2, digit().shape[2:])


def same(linear: nn.Linear, factor: float = 1.0) -> None:
    """Let a linear map return its inputs, scaled: weights that need no training."""
    with torch.no_grad():
        linear.weight.copy_(factor * torch.eye(*linear.weight.shape))
        linear.bias.zero_()


def by_content() -> Row:
    """Layers that search: the nearest, every other of the nearest, as many as the degree, every pixel."""
    torch.manual_seed(0)
    with_degree = layers.AdaptiveNeighborhoods2d(CHANNELS, CHANNELS, kernel_size=5, latent_channels=CHANNELS)
    same(with_degree.ranker.encode, factor=20)
    everybody = layers.NonLocal2d(2 * CHANNELS, 2 * CHANNELS)  # half of the channels
    same(everybody.query, factor=1.5)
    same(everybody.key, factor=1.5)
    twice = torch.cat([patches(), patches()], dim=1)
    asked = {
        f"ViG: the {K} nearest": (layers.ViG2d(CHANNELS, CHANNELS, K=K), patches()),
        "every other of 18": (layers.ViG2d(CHANNELS, CHANNELS, K=K, graph_dilation=2), patches()),
        "Adaptive: a degree": (with_degree, patches()),
        "NonLocal: every pixel": (everybody, twice),
    }
    return _draw(asked, QUERY)


def by_place() -> Row:
    """Layers with fixed places: the same row and column, the close ones among them, the window at the border."""
    torch.manual_seed(0)
    own = {"positional_size": 0}
    asked = {
        "SVGA: every other": (layers.SVGA2d(CHANNELS, CHANNELS, step=2, **own), patches()),
        "MGC: 2 away": (layers.MGC2d(CHANNELS, CHANNELS, step=2, **own), patches()),
        "DAGC: close ones": (layers.DAGC2d(CHANNELS, CHANNELS, step=1, **own), patches()),
    }
    row = _draw(asked, QUERY)
    window = layers.NeighborhoodAttention2d(CHANNELS, CHANNELS, kernel_size=3, relative_bias=False)
    _draw_one(row.axes[3], "attention, border", window, patches(), EDGE)
    return row


def _draw(asked: dict[str, tuple[layers.ChoosingLayer, Tensor]], query: Cell) -> Row:
    row = Row(1, 1, 1, 1)
    for ax, (text, (layer, x)) in zip(row.axes, asked.items(), strict=False):
        _draw_one(ax, text, layer, x, query)
    return row


def _draw_one(ax: Axes, text: str, layer: layers.ChoosingLayer, x: Tensor, query: Cell) -> None:
    here = query[0] * x.shape[3] + query[1]
    with torch.no_grad():
        indices, scores, absent = layer.neighbors(x)
    cells = layer.field(x).places(indices[0, here]).tolist()
    shares = torch.ones(len(cells)) if scores is None else scores[0, here] / scores[0, here].max()
    shares = shares if absent is None else shares.masked_fill(absent[0, here], 0)
    panels.draw_map(ax, digit()[0, 0], panels.FADED)
    panels.weights(ax, [tuple(cell) for cell in cells], shares)
    panels.frame(ax, [query], panels.QUERY, inset=0)
    panels.title(ax, text)


FIGURES = {"relatives-by-content": by_content, "relatives-by-place": by_place}
