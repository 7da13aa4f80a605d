"""Search for neighbours on a map: what is compared, and which positions are candidates."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.nn._cost import warn_of_cost
from convnn.nn._field import Field
from convnn.nn._settings import changed
from convnn.ops import METRICS, Neighbors, select
from convnn.ops.clusters import Clusters
from convnn.words import counted

SAMPLING_TYPES = ("all", "random", "spatial")
SEARCHES = select.METHODS
SIMILARITY_TYPES = ("Col", "Loc", "Loc_Col", "Window")


@dataclass(frozen=True)
class Search:
    """The candidates and the comparison of a neighbour search. Names and values are those of the published flags.

    Attributes:
        K: number of neighbours of each position; the first is the position itself.
        sampling_type: candidates: "all" positions of the padded map; "random": `num_samples` of them, drawn once
            for the whole batch, and fixed in evaluation; "spatial": a grid on the map without its padding.
        num_samples: number of candidates of "random", or of grid points along each axis of "spatial"; -1, or more than
            the map has, means all.
        sample_padding: distance of the spatial grid from the border, in pixels.
        metric: "cosine" (largest), "euclidean" (smallest distance) or "matmul" (largest inner product).
        similarity_type: compare features ("Col"), places ("Loc") or both ("Loc_Col"); "Window" compares nothing and
            takes the window of a convolution. With "Loc" and "Window" neighbours are in raster order.
        lambda_param: weight of the features in "Loc_Col", 0 to 1.
        raster_order: order neighbours by raster position rather than best first, so that the slots of the kernel stand
            for places, as those of a convolution do.
        search: "exact", or "clustered": most of the neighbours, from a few clusters of candidates.
        recall: share of the neighbours that the clustered search should find.
        probes: clusters that each position searches, instead of a recall; -1: as many as the recall needs.
        lists: number of clusters, or as many as there are candidates if they are fewer; -1: twice the square root of
            the number of candidates.

    Raises:
        InputError: an argument is unknown or out of range.
    """

    K: int = 9
    sampling_type: str = "all"
    num_samples: int = -1
    sample_padding: int = 0
    metric: str = "cosine"
    similarity_type: str = "Col"
    lambda_param: float = 0.5
    raster_order: bool = False
    search: str = "exact"
    recall: float = 0.95
    probes: int = -1
    lists: int = -1

    def __post_init__(self) -> None:
        check_at_least("K", self.K, 1)
        check_at_least("sample_padding", self.sample_padding, 0)
        check_choice("sampling_type", self.sampling_type, SAMPLING_TYPES)
        check_choice("metric", self.metric, METRICS)
        check_choice("similarity_type", self.similarity_type, SIMILARITY_TYPES)
        check_fraction("lambda_param", self.lambda_param)
        if self.num_samples != -1:
            check_at_least("num_samples", self.num_samples, 1)
            if self.sampling_type == "all":
                raise InputError(
                    f"num_samples={self.num_samples} must be -1 with sampling_type='all';"
                    " choose 'random' or 'spatial' to sample"
                )
            if self.similarity_type == "Window":
                raise InputError(
                    f"num_samples={self.num_samples} must be -1 with similarity_type='Window', which searches nothing"
                )
        self._check_search()

    def _check_search(self) -> None:
        check_choice("search", self.search, SEARCHES)
        for name in ("recall", "probes", "lists"):
            value, usual = getattr(self, name), getattr(Search, name)
            if value != usual and self.search == "exact":
                raise InputError(f"{name}={value!r} must be {usual} with search='exact'; choose search='clustered'")
        if self.search == "clustered" and self.similarity_type == "Window":
            raise InputError("search='clustered' must be 'exact' with similarity_type='Window', which searches nothing")
        if self.recall != Search.recall and self.probes != -1:
            raise InputError(f"recall={self.recall!r} and probes={self.probes} must not both be given")
        Clusters(**self._clusters())

    def _clusters(self, candidates: int | None = None) -> dict[str, Any]:
        """Return the arguments of a clustered search among so many candidates, or among any number of them."""
        probes, lists = (None if number == -1 else number for number in (self.probes, self.lists))
        if candidates is not None:
            lists = Clusters().lists_of(candidates) if lists is None else min(lists, candidates)
            probes = None if probes is None else min(probes, lists)
        return {"recall": self.recall if probes is None else None, "probes": probes, "lists": lists}

    def nearest(
        self,
        queries: Tensor,
        keys: Tensor,
        *,
        positions: Tensor | None = None,
        candidates: Tensor | None = None,
        backend: str = "auto",
    ) -> Neighbors:
        """Return the K keys most similar to each query; see `convnn.ops.select.nearest`."""
        given: dict[str, Any] = {"positions": positions, "candidates": candidates, "backend": backend}
        if self.search == "clustered":
            available = keys.shape[1] if candidates is None else candidates.shape[0]
            given |= {"method": "clustered"} | self._clusters(available)
        elif candidates is None:
            warn_of_cost(queries, keys, self.K)
        return select.nearest(queries, keys, self.K, metric=self.metric, **given)

    def __str__(self) -> str:
        """Return K, and the settings that differ from their defaults."""
        return self.changed_from(Search())

    def changed_from(self, default: "Search") -> str:
        """Return K, and the settings that differ from those of another search."""
        return changed(self, default, always=["K"])


def find_neighbors(field: Field, search: Search, *, training: bool, backend: str = "auto") -> Neighbors:
    """Find the K neighbours of every position that chooses, compared by place, features or both."""
    if search.similarity_type == "Window":
        return _under_windows(field, search.K)
    keys = similarity_features(field, search)
    candidates = find_candidates(field, search, training=training)
    queries, positions = field.at_queries(keys), field.queries()
    neighbors = search.nearest(queries, keys, positions=positions, candidates=candidates, backend=backend)
    is_ordered = search.raster_order or search.similarity_type == "Loc"
    return neighbors.in_raster_order() if is_ordered else neighbors


def _under_windows(field: Field, K: int) -> Neighbors:
    """Return the positions in the windows of a convolution.

    Raises:
        InputError: K is not the number of positions in a window.
    """
    windows = [axis.window for axis in field.axes]
    if prod(windows) != K:
        sides = "x".join(map(str, windows))
        raise InputError(f"K={K} must be {prod(windows)}, the positions of a {sides} window, with similarity 'Window'")
    return Neighbors(under_windows(field)).for_each_of(field.features.shape[0])


def under_windows(field: Field) -> Tensor:
    """Return the indices (1, N, K) of the positions in the window of each position that chooses, in raster order."""
    return select.unfold(
        field.size,
        [axis.window for axis in field.axes],
        stride=[axis.stride for axis in field.axes],
        dilation=[axis.dilation for axis in field.axes],
        device=field.features.device,
    ).indices


def similarity_features(field: Field, search: Search) -> Tensor:
    """Return the features that are compared, (B, T, .).

    Coordinates alone are integers: no ranking changes, and equal distances are exactly equal.
    """
    features = field.features
    dtype = torch.promote_types(features.dtype, torch.float32)
    if search.similarity_type == "Col":
        return features
    if search.similarity_type == "Loc":
        return field.grid().to(dtype).expand(features.shape[0], -1, -1)
    features = features.detach().to(dtype)
    places = field.coordinates(dtype).expand(features.shape[0], -1, -1)
    spread = _finite_std(features) + 1e-6
    return torch.cat([search.lambda_param * features / spread, (1 - search.lambda_param) * places], dim=-1)


def find_candidates(field: Field, search: Search, *, training: bool) -> Tensor | None:
    """Return the indices (M,) of the positions that may be chosen, ascending; None for all of them.

    Raises:
        InputError: there are too few for K neighbours.
    """
    candidates: Tensor | None
    if not is_sampled(field, search):
        candidates = None
    elif search.sampling_type == "spatial":
        candidates = _spatial_candidates(field, search)
    else:
        candidates = _random_candidates(field, search, training=training)
    _check_enough(field, search, candidates)
    return candidates


def is_sampled(field: Field, search: Search) -> bool:
    """Whether only some positions are candidates."""
    if search.num_samples == -1:
        return False
    if search.sampling_type == "random":
        return search.num_samples < field.features.shape[1]
    return all(search.num_samples <= side for side in field.real_size)


def _random_candidates(field: Field, search: Search, *, training: bool) -> Tensor:
    length, device = field.features.shape[1], field.features.device
    order = torch.randperm(length, device=device) if training else _fixed_permutation(length, device)
    return order[: search.num_samples].sort().values


def _fixed_permutation(length: int, device: torch.device) -> Tensor:
    """Return a pseudorandom order, the same on every call and device: positions sorted by a 32-bit hash of their index.

    A seeded generator is no alternative, because torch.compile cannot trace one.
    """
    mask = 0xFFFFFFFF
    mixed = torch.arange(1, length + 1, device=device) * 0x9E3779B1 & mask
    mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA77 & mask
    mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE3D & mask
    return (mixed ^ (mixed >> 16)).argsort(stable=True)


def _spatial_candidates(field: Field, search: Search) -> Tensor:
    n, margin = search.num_samples, search.sample_padding
    _check_margin(field, search)
    axes = []
    for axis in field.axes:
        span = axis.real - 1 - 2 * margin
        points = min(n, span + 1)  # more points than pixels would name some of them twice
        places = torch.arange(points, device=field.features.device) * span // max(points - 1, 1)
        axes.append(places + margin + axis.before)
    return field.positions(axes)


def _finite_std(features: Tensor) -> Tensor:
    """Return the unbiased standard deviation over the finite values of each image, (B, 1, 1)."""
    finite = features.isfinite()
    count = finite.sum(dim=(1, 2), keepdim=True)
    known = features.masked_fill(~finite, 0)
    mean = known.sum(dim=(1, 2), keepdim=True) / count.clamp_min(1)
    squares = (known - mean).masked_fill(~finite, 0).square().sum(dim=(1, 2), keepdim=True)
    return (squares / (count - 1).clamp_min(1)).sqrt()


def _check_margin(field: Field, search: Search) -> None:
    if 2 * search.sample_padding >= min(field.real_size):
        raise InputError(
            f"sample_padding={search.sample_padding} must be less than half of each side of the {_shape(field)} map"
        )


def _check_enough(field: Field, search: Search, candidates: Tensor | None) -> None:
    total = field.features.shape[1]
    if candidates is not None and candidates.shape[0] < search.K - 1:
        raise InputError(
            f"num_samples={search.num_samples} gives {counted(candidates.shape[0], 'candidate')} with"
            f" sampling_type={search.sampling_type!r}, fewer than the {counted(search.K - 1, 'neighbour')} that"
            f" K={search.K} needs"
        )
    if search.K > total:
        raise InputError(
            f"K={search.K} is more than the {counted(total, 'position')} of a {_shape(field)} map with"
            f" padding={_padding(field)}; lower K, or raise padding or the image size"
        )


def _shape(field: Field) -> str:
    """Return a size as text, such as "8x8", or "12-long" for a signal."""
    sides = list(map(str, field.real_size))
    return "x".join(sides) if len(sides) > 1 else f"{sides[0]}-long"


def _padding(field: Field) -> int | tuple[int, ...]:
    """Return the padding before the map, as one number if it is the same on all axes."""
    sides = tuple(axis.before for axis in field.axes)
    return sides if len(set(sides)) > 1 else sides[0]
