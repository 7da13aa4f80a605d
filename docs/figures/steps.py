"""One figure for each step of a ConvNN layer, computed by the library on a digit of scikit-learn."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from convnn.nn._field import Field
from convnn.nn._grid import Grid
from convnn.nn._search import Search, find_candidates, find_neighbors, similarity_features
from convnn.nn.functional import one_in_each_direction, pixel_shuffle, pixel_unshuffle
from convnn.ops import Neighbors, aggregate, select, weigh
from figures import panels
from figures.panels import Cell, Row

SIDE, PADDING, K = 8, 1, 9
QUERY: Cell = (3, 2)  # on the stroke
SEARCH = Search(K, metric="euclidean", similarity_type="Loc_Col")


def digit() -> Tensor:
    """Return a zero of 8 x 8 pixels, values 0 to 1: (1, 1, 8, 8)."""
    return torch.from_numpy(load_digits().images[0] / 16).float()[None, None]


def field() -> Field:
    """Its positions, with one zero on every side."""
    return Field.of(digit(), Grid(padding=PADDING))


def padded(cell: Cell) -> Cell:
    """A pixel's cell on the padded map."""
    return cell[0] + PADDING, cell[1] + PADDING


def cells_of(indices: Tensor) -> list[Cell]:
    """Cells on the padded map of positions (K,)."""
    whole = SIDE + 2 * PADDING
    return [(int(i) // whole, int(i) % whole) for i in indices]


def neighbors_of(search: Search) -> list[Cell]:
    """Return the neighbours of the query, in the order of the slots."""
    chosen = find_neighbors(field(), search, training=False)
    return cells_of(chosen.indices[0, QUERY[0] * SIDE + QUERY[1]])


def scores(search: Search) -> np.ndarray:
    """Score of the query with every position of the padded map, larger is closer."""
    keys = similarity_features(field(), search)
    here = field().queries()[QUERY[0] * SIDE + QUERY[1]]
    everybody = Neighbors(torch.arange(keys.shape[1])[None, None])
    scored = weigh.similarity(everybody, keys[:, here][:, None], keys, metric=search.metric)
    return scored.scores.reshape(SIDE + 2 * PADDING, -1).numpy()


def draw_padded(ax: Axes, values: np.ndarray | None = None, cmap: Colormap = panels.PIXELS) -> None:
    """The padded digit, or other values on the same map, with the query framed."""
    panels.draw_map(ax, F.pad(digit(), [PADDING] * 4)[0, 0] if values is None else values, cmap)
    if values is None:
        panels.draw_padding(ax, SIDE, PADDING)
    panels.frame(ax, [padded(QUERY)], panels.QUERY)


def draw_chosen(ax: Axes, chosen: list[Cell]) -> None:
    """The padded digit with the neighbours of the query, numbered by slot."""
    draw_padded(ax, cmap=panels.FADED)
    panels.number(ax, chosen)
    panels.frame(ax, [padded(QUERY)], panels.QUERY, inset=0)


def pad() -> Row:
    """The map, the padded map and the two coordinate channels."""
    row = Row(0.8, 1, 1, 1)
    panels.draw_map(row.axes[0], digit()[0, 0])
    panels.frame(row.axes[0], [QUERY], panels.QUERY)
    draw_padded(row.axes[1])
    places = field().coordinates(torch.float32).reshape(SIDE + 2 * PADDING, -1, 2)
    for ax, axis in zip(row.axes[2:], (0, 1), strict=True):
        draw_padded(ax, places[..., axis], panels.SIGNED)
    for ax, text in zip(row.axes, ("the map", "padded", "coordinate x", "coordinate y"), strict=True):
        panels.title(ax, text)
    return row


def compare() -> Row:
    """How close every position is to the query, for each similarity."""
    row = Row(1, 1, 1, 1)
    draw_padded(row.axes[0])
    panels.title(row.axes[0], "the query")
    for ax, kind in zip(row.axes[1:], ("Col", "Loc", "Loc_Col"), strict=True):
        values = scores(Search(K, metric="euclidean", similarity_type=kind))
        draw_padded(ax, values, panels.SCORES)
        panels.title(ax, f"score by {kind}")
    return row


def sample() -> Row:
    """The positions that may be chosen."""
    row = Row(1, 1, 1)
    settings = {"all": -1, "random": 20, "spatial": 4}
    for ax, (kind, count) in zip(row.axes, settings.items(), strict=True):
        candidates = find_candidates(field(), Search(K, kind, count), training=False)
        everybody = torch.arange(field().features.shape[1])
        draw_padded(ax, cmap=panels.FADED)
        panels.dots(ax, cells_of(everybody if candidates is None else candidates))
        panels.title(ax, kind if count == -1 else f"{kind}, num_samples {count}")
    return row


def choose() -> Row:
    """The neighbours of the query from each kind of candidates."""
    row = Row(1, 1, 1)
    settings = {"all": -1, "random": 20, "spatial": 4}
    for ax, (kind, count) in zip(row.axes, settings.items(), strict=True):
        search = Search(K, kind, count, 0, "euclidean", "Loc_Col")
        draw_chosen(ax, neighbors_of(search))
        panels.title(ax, f"of {kind}")
    return row


def order() -> Row:
    """Which neighbour comes into which slot of the kernel."""
    row = Row(1, 1, 1)
    titles = {"Col": "Col: best first", "Loc_Col": "Loc_Col: best first", "Loc": "Loc: raster order, the window"}
    for ax, (kind, text) in zip(row.axes, titles.items(), strict=True):
        draw_chosen(ax, neighbors_of(Search(K, metric="euclidean", similarity_type=kind)))
        panels.title(ax, text)
    return row


def projected(keys: Tensor) -> Tensor:
    """Vectors as a learned projection could produce them: four times as long, so that a softmax tells them apart."""
    return 4 * keys


def softmax_weights() -> np.ndarray:
    """Of the neighbours of the query."""
    chosen = find_neighbors(field(), SEARCH, training=False)
    keys = projected(similarity_features(field(), SEARCH))
    scored = weigh.similarity(chosen, field().at_queries(keys), keys, metric=SEARCH.metric)
    return weigh.softmax(scored).scores[0, QUERY[0] * SIDE + QUERY[1]].numpy()


def weights() -> Row:
    """Equal weights, or a softmax of the scores."""
    row = Row(1, 1.05, 1, 1.05)
    kinds = {"ConvNN: equal": np.ones(K) / K, "ConvNN_Attn: softmax": softmax_weights()}
    largest = max(shares.max() for shares in kinds.values())
    for (text, shares), ax, beside in zip(kinds.items(), row.axes[::2], row.axes[1::2], strict=True):
        draw_padded(ax, cmap=panels.FADED)
        panels.weights(ax, neighbors_of(SEARCH), shares / largest)
        panels.frame(ax, [padded(QUERY)], panels.QUERY, inset=0)
        panels.title(ax, text)
        panels.bars(beside, shares)
        beside.set_ylim(0, largest * 1.05)
        panels.title(beside, "weight of each slot")
    return row


KERNEL = torch.tensor([0.28, 0.18, 0.14, 0.11, 0.09, 0.07, 0.06, 0.04, 0.03])


def summed() -> Row:
    """The values of the neighbours, times the kernel, sum to the output."""
    row = Row(1, 1.75, 0.8)
    chosen = find_neighbors(field(), SEARCH, training=False)
    out = aggregate.convolve(field().features, chosen, KERNEL.reshape(1, 1, K))[0, :, 0]
    here = QUERY[0] * SIDE + QUERY[1]
    brought = field().features[0, chosen.indices[0, here], 0]
    draw_chosen(row.axes[0], cells_of(chosen.indices[0, here]))
    panels.title(row.axes[0], "gather")
    panels.strip(
        row.axes[1],
        [
            ("values of the neighbours", brought, panels.PIXELS, (0, 1)),
            ("kernel, one weight a slot", KERNEL, panels.SCORES, (0, 0.4)),
            (f"products; their sum is {float(out[here]):.2f}", brought * KERNEL, panels.PIXELS, (0, 1)),
        ],
        ("×", "="),
    )
    panels.draw_map(row.axes[2], out.reshape(SIDE, SIDE), low=0, high=1)
    panels.frame(row.axes[2], [QUERY], panels.QUERY)
    panels.title(row.axes[2], "the output")
    return row


CHANNELS = ("#d9480f", "#1f5fbf", "#2b8a3e", "#862e9c")


def inked(values: Tensor, channels: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) of values 0 to 1, each in the ink of its channel on tinted paper."""
    ink = np.array([to_rgb(CHANNELS[channel]) for channel in channels.flat]).reshape(*channels.shape, 3)
    return 1 - (1 - ink) * (0.1 + 0.9 * values.numpy()[..., None])


def shuffle() -> Row:
    """Pixels folded into channels and back."""
    row = Row(0.8, 0.9, 0.8)
    folded, half = pixel_unshuffle(digit(), 2), SIDE // 2
    tiles = np.kron(np.ones((half, half), dtype=int), np.arange(4).reshape(2, 2))
    for ax, image, text in (
        (row.axes[0], digit(), "the map"),
        (row.axes[2], pixel_shuffle(folded, 2), "shuffled back"),
    ):
        panels.draw_colors(ax, inked(image[0, 0], tiles))
        panels.title(ax, text)
    sheet = np.full((SIDE + 1, SIDE + 1, 3), np.nan)
    for channel in range(4):
        top, left = (channel // 2) * (half + 1), (channel % 2) * (half + 1)
        sheet[top : top + half, left : left + half] = inked(folded[0, channel], np.full((half, half), channel))
    panels.draw_colors(row.axes[1], sheet)
    panels.title(row.axes[1], "4 channels of 4 × 4")
    return row


def family() -> Row:
    """The same pixel in a convolution, in ConvNN and in attention."""
    row = Row(1, 1, 1)
    search = Search(K, metric="euclidean", similarity_type="Loc_Col")
    keys = projected(similarity_features(Field.of(digit(), Grid(padding=0)), search))
    everybody = torch.arange(SIDE * SIDE)
    here = QUERY[0] * SIDE + QUERY[1]
    window = select.window((SIDE, SIDE), (3, 3)).indices[0, here]
    nearest = select.nearest(keys, keys, K, metric="euclidean", positions=everybody).indices[0, here]
    scored = weigh.similarity(Neighbors(everybody[None, None]), keys[:, here][:, None], keys, metric="euclidean")
    alike = torch.ones(K)
    for ax, text, indices, shares in zip(
        row.axes,
        ("convolution: the window", "ConvNN: the K most similar", "attention: every pixel"),
        (window, nearest, everybody),
        (alike, alike, weigh.softmax(scored).scores[0, 0]),
        strict=True,
    ):
        panels.draw_map(ax, digit()[0, 0], panels.FADED)
        panels.weights(ax, [(int(i) // SIDE, int(i) % SIDE) for i in indices], shares / shares.max())
        panels.frame(ax, [QUERY], panels.QUERY, inset=0)
        panels.title(ax, text)
    return row


SLOTS, REACH = 3, 1
SECTORS = ("#1f5fbf", "#5c8cd6", "#1f5fbf", "#5c8cd6", "#262626", "#5c8cd6", "#1f5fbf", "#5c8cd6", "#1f5fbf")


def place() -> Row:
    """One neighbour in each direction: the places that belong to a slot, and the one it takes."""
    row = Row(1, 1, 1)
    wide = Field.of(digit(), Grid(SLOTS, padding="same").widened((SLOTS, SLOTS), REACH))
    side, (top, left) = SLOTS + 2 * REACH, (QUERY[0] - 1 - REACH, QUERY[1] - 1 - REACH)
    panels.draw_map(row.axes[0], digit()[0, 0], panels.FADED)
    for slot, places in enumerate(select.sectors((SLOTS, SLOTS), REACH).tolist()):
        cells = [(top + place // side, left + place % side) for place in dict.fromkeys(places)]
        panels.tint(row.axes[0], cells, SECTORS[slot], str(slot + 1))
    panels.title(row.axes[0], "places of each slot")
    for ax, prefer in zip(row.axes[1:], ("like", "unlike"), strict=True):
        chosen = one_in_each_direction(wide, (SLOTS, SLOTS), REACH, prefer, "euclidean")
        cells = wide.places(chosen.indices[0, QUERY[0] * SIDE + QUERY[1]]).tolist()
        panels.draw_map(ax, digit()[0, 0], panels.FADED)
        panels.number(ax, [(row, column) for row, column in cells])
        panels.title(ax, f"takes the most {prefer}")
    for ax in row.axes:
        panels.frame(ax, [QUERY], panels.QUERY, inset=0)
    return row


FIGURES = {
    "pad": pad,
    "compare": compare,
    "sample": sample,
    "select": choose,
    "order": order,
    "weigh": weights,
    "aggregate": summed,
    "shuffle": shuffle,
    "family": family,
    "place": place,
}
