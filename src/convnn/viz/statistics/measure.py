"""Statistics of the neighbours of every layer over many images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import hypot

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.viz.choices import choices_of, features_of, is_clustered, searching_exactly, watching
from convnn.viz.statistics._class_centroids import ClassCentroids
from convnn.viz.statistics._tally import Tally

Batches = Iterable[Sequence[Tensor]]
Call = tuple[str, int]


@dataclass(frozen=True)
class LayerStatistics:
    r"""Statistics of the neighbours of one layer.

    The neighbours of a position are the positions that it chooses except itself; of K slots these are K - 1 if every
    position chooses itself. Padding lies around the map and has a place; the class token has none.

    .. math:: \text{hubness} = \frac{E (N_k - \mu)^3}{\sigma^3}

    Attributes:
        name: path of the layer in its model; "name#2" for its second call.
        height, width: size of the searched map, without padding; in patches for a layer on tokens.
        K: slots of each position, including itself.
        distance: mean Euclidean distance to a neighbour in pixels of that map, without the class token.
        relative_distance: the same as a share of the map's diagonal, sqrt(height^2 + width^2).
        in_window: share of the neighbours inside the k x k window around the position, k the smallest odd number with
            k * k >= K; the class token is never inside. It is 1 for a convolution.
        outside: share of the neighbours that are padding or the class token.
        hubness: skewness of the k-occurrence N_k(x), the number of other positions that have x as a neighbour, over the
            positions of a map; 0 if all are chosen equally often, above 0 if few are chosen by many.
        never_chosen: share of the positions of a map that no other position chooses, N_k = 0.
        most_chosen: largest N_k of a map.
        class_agreement: share of the neighbours on the map that belong to the same class as the position, where each
            position belongs to the class with the nearest centroid; see `neighbor_statistics`.
        chance_agreement: the share for random other positions of the map.
        recall: share of the true neighbours, those of the exact search, that a clustered search finds; NaN for layers
            that search exactly.

    Measures are means over all neighbours of all images; the three measures of N_k are computed for each map and head
    and then averaged. A measure without data is NaN, such as the distance for K = 1.
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
    recall: float


MEASURES = tuple(f.name for f in fields(LayerStatistics) if f.type is float)
"""The attributes of `LayerStatistics` that are measures."""


def neighbor_statistics(
    model: nn.Module, batches: Batches, *, labelled_batches: Batches | None = None
) -> list[LayerStatistics]:
    r"""Compute statistics of the neighbours of every layer on 2-d maps or on patches, over many images.

    All positions of an image share its label, so the class of a position is inferred from its features: with c_1, c_2,
    ... the means of the features that enter the layer, over all positions of the images of each class, and m the mean
    of these means, a position x belongs to the class

    .. math:: \arg\max_y \frac{(x - m) \cdot (c_y - m)}{\|x - m\| \|c_y - m\|}.

    The cosine is taken about m, because features after a ReLU share a large positive part that is independent of the
    class; and it is a cosine, because by Euclidean distance positions of low magnitude would all belong to the class
    with the shortest mean.

    Args:
        model: a network with such layers; its hooks and training modes are restored afterwards, and no random number
            is drawn. Tokens must be the patches of the image, row by row, after any number of other tokens.
        batches: batches that begin with images (B, C, H, W), all of one size, on the device of the model and prepared
            as for training, such as a loader of `convnn.data`. Their order and size do not matter.
        labelled_batches: batches that begin with images and labels (B,), which are read first for the means of the
            classes; training images, so that no label of the images in `batches` is used. None measures no classes.

    Returns:
        One entry for each call of such a layer, in order of execution.

    Raises:
        InputError: the model has no such layer, there is no image, images differ in size, or tokens are not patches.

    References:
        k-occurrence and its skewness: Radovanovic, Nanopoulos, Ivanovic, "Hubs in Space: Popular Nearest Neighbors in
        High-Dimensional Data", JMLR 11, 2010, section 3.

    Example:
        >>> import torch
        >>> from convnn.nn import ConvNN2d
        >>> layer = ConvNN2d(3, 8, K=9, similarity_type="Loc", metric="euclidean")
        >>> [statistics] = neighbor_statistics(layer, [[torch.rand(2, 3, 6, 4)]])
        >>> statistics.in_window, round(statistics.distance, 4)
        (1.0, 1.2071)
    """
    centroids = {} if labelled_batches is None else _find_centroids(model, labelled_batches)
    tallies: dict[Call, Tally] = {}

    def tally(call: Call, layer: nn.Module, x: Tensor, batch: Sequence[Tensor]) -> None:
        choices = choices_of(layer, x, batch[0])
        class_centroids = centroids.get(call)
        classes = None if class_centroids is None else class_centroids.nearest(features_of(layer, x, batch[0]))
        if call not in tallies:
            tallies[call] = Tally(choices.size, choices.places.shape[-2])
        tallies[call].add(choices, classes)
        if is_clustered(layer):
            with searching_exactly(layer):
                tallies[call].add_recall(choices, choices_of(layer, x, batch[0]))

    _watch_batches(model, batches, tally)
    return [_statistics(call, tallies[call]) for call in tallies]


def _find_centroids(model: nn.Module, batches: Batches) -> dict[Call, ClassCentroids]:
    centroids: dict[Call, ClassCentroids] = {}

    def add(call: Call, layer: nn.Module, x: Tensor, batch: Sequence[Tensor]) -> None:
        features = features_of(layer, x, batch[0])
        centroids.setdefault(call, ClassCentroids(features.shape[-1])).add(features, batch[1])

    _watch_batches(model, batches, add)
    return centroids


def _watch_batches(
    model: nn.Module, batches: Batches, on_call: Callable[[Call, nn.Module, Tensor, Sequence[Tensor]], None]
) -> None:
    """Run batches through a model and report every call of a layer, with its name and the number of the call."""
    batch: Sequence[Tensor] = ()
    calls: dict[str, int] = {}

    def report(name: str, layer: nn.Module, x: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        on_call((name, calls[name]), layer, x, batch)

    has_images = False
    with watching(model, report):
        for batch in batches:  # `report` reads it
            calls.clear()
            if len(batch[0]):
                has_images = True
                model(batch[0])
    if not has_images:
        raise InputError("batches hold no image; they must hold at least one")


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
        recall=tally.recall,
    )
