"""What the neighbours of every layer are like, over many images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import hypot

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.viz.choices import choices_of, features_of, watching
from convnn.viz.statistics._class_centroids import ClassCentroids
from convnn.viz.statistics._tally import Tally

Batches = Iterable[Sequence[Tensor]]
Call = tuple[str, int]


@dataclass(frozen=True)
class LayerStatistics:
    r"""What the neighbours of one layer are like.

    Neighbours are the positions chosen by a position other than that position itself; of K slots these are K - 1 where
    every position chooses itself. Padding lies around the map and has a place; the class token has none.

    .. math:: \text{hubness} = \frac{E (N_k - \mu)^3}{\sigma^3}

    Attributes:
        name: path of the layer in its model; "name#2" where it is called a second time.
        height, width: of the map that is searched, without padding; patches where the layer reads tokens.
        K: slots of each position, itself included.
        distance: mean euclidean distance to a neighbour in pixels of that map, the class token left out.
        relative_distance: the same as a share of the map's diagonal, sqrt(height^2 + width^2).
        in_window: share of the neighbours inside the k x k window around the position, k the smallest odd number with
            k * k >= K; the class token is never inside. A convolution has 1.
        outside: share of the neighbours in the padding, or that are the class token.
        hubness: skewness of the k-occurrence N_k(x), the number of other positions that have x as a neighbour, over the
            positions of a map; 0 where all are chosen equally often, above 0 where few are chosen by many.
        never_chosen: share of the positions of a map that are nobody's neighbour, N_k = 0.
        most_chosen: largest N_k of a map.
        class_agreement: share of the neighbours on the map that belong to the same class as the position, each position
            belonging to the class whose centroid is nearest; see `neighbor_statistics`.
        chance_agreement: the share that random other positions of the map would give.

    Measures are means over all neighbours of all images; the three of N_k are computed for each map (of several heads,
    for each head) and then averaged. A measure of nothing is NaN, such as the distance where K is 1.
    """

    name: str
    height: int
    width: int
    K: int
    distance: float
    relative_distance: float
    in_window: float
    outside: float
    hubness: float
    never_chosen: float
    most_chosen: float
    class_agreement: float
    chance_agreement: float


MEASURES = tuple(f.name for f in fields(LayerStatistics) if f.type is float)
"""The attributes of `LayerStatistics` that are measured."""


def neighbor_statistics(
    model: nn.Module, batches: Batches, *, labelled_batches: Batches | None = None
) -> list[LayerStatistics]:
    r"""What the neighbours of every layer on 2-d maps or on patches are like, over many images.

    All positions of an image share its label, so the class of a position is read from its features: with c_1, c_2, ...
    the means of the features that enter the layer over all positions of the images of each class, and m the mean of
    these, a position x belongs to the class

    .. math:: \arg\max_y \frac{(x - m) \cdot (c_y - m)}{\|x - m\| \|c_y - m\|}.

    The cosine is taken about m, because features behind a ReLU share a large positive part that says nothing of the
    class; and it is a cosine, because by euclidean distance faint positions would all belong to the class of the
    shortest mean.

    Args:
        model: a network with such layers; its hooks and training modes are afterwards as before, no random number is
            drawn. Tokens must be the patches of the image, row by row, behind any number of others.
        batches: each begins with images (B, C, H, W), all of one size, on the device of the model and prepared as for
            training, such as a loader of `convnn.data`. Neither their order nor their size matters.
        labelled_batches: each begins with images and their labels (B,), from which the means of the classes are taken
            ahead of the others; training images, so that no label of those described is used. None: no classes.

    Returns:
        One entry for each call of such a layer, in order of execution.

    Raises:
        InputError: the model has no such layer, there is no image, images differ in size, or tokens are no patches.

    References:
        k-occurrence and its skewness: Radovanovic, Nanopoulos, Ivanovic, "Hubs in Space: Popular Nearest Neighbors in
        High-Dimensional Data", JMLR 11, 2010, section 3.

    Example:
        >>> import torch
        >>> from convnn.nn import ConvNN2d
        >>> layer = ConvNN2d(3, 8, K=9, similarity_type="Loc", metric="euclidean")
        >>> [found] = neighbor_statistics(layer, [[torch.rand(2, 3, 6, 4)]])
        >>> found.in_window, round(found.distance, 4)
        (1.0, 1.2071)
    """
    centroids = {} if labelled_batches is None else _find_centroids(model, labelled_batches)
    tallies: dict[Call, Tally] = {}

    def tally(call: Call, layer: nn.Module, x: Tensor, batch: Sequence[Tensor]) -> None:
        choices = choices_of(layer, x, batch[0])
        known = centroids.get(call)
        classes = None if known is None else known.nearest(features_of(layer, x, batch[0]))
        if call not in tallies:
            tallies[call] = Tally(choices.size, choices.places.shape[-2])
        tallies[call].add(choices, classes)

    _watch_batches(model, batches, tally)
    return [_statistics(call, tallies[call]) for call in tallies]


def _find_centroids(model: nn.Module, batches: Batches) -> dict[Call, ClassCentroids]:
    found: dict[Call, ClassCentroids] = {}

    def add(call: Call, layer: nn.Module, x: Tensor, batch: Sequence[Tensor]) -> None:
        features = features_of(layer, x, batch[0])
        found.setdefault(call, ClassCentroids(features.shape[-1])).add(features, batch[1])

    _watch_batches(model, batches, add)
    return found


def _watch_batches(
    model: nn.Module, batches: Batches, on_call: Callable[[Call, nn.Module, Tensor, Sequence[Tensor]], None]
) -> None:
    """Send batches through a model and tell of every call of a layer: its name and how often it was called before."""
    batch: Sequence[Tensor] = ()
    calls: dict[str, int] = {}

    def tell(name: str, layer: nn.Module, x: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        on_call((name, calls[name]), layer, x, batch)

    found_any = False
    with watching(model, tell):
        for batch in batches:  # which `tell` reads
            calls.clear()
            if len(batch[0]):
                found_any = True
                model(batch[0])
    if not found_any:
        raise InputError("there is no image to look at; batches must hold at least one")


def _statistics(call: Call, tally: Tally) -> LayerStatistics:
    name, number = call
    height, width = tally.size
    return LayerStatistics(
        name=name if number == 1 else f"{name}#{number}",
        height=height,
        width=width,
        K=tally.K,
        distance=tally.distance,
        relative_distance=tally.distance / hypot(height, width),
        in_window=tally.in_window,
        outside=tally.outside,
        hubness=tally.hubness,
        never_chosen=tally.never_chosen,
        most_chosen=tally.most_chosen,
        class_agreement=tally.class_agreement,
        chance_agreement=tally.chance_agreement,
    )
