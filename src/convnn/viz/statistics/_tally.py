"""Counts of the neighbours of one layer."""

from math import fsum, nan

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.viz.choices import Choices, window_side


class Tally:
    """Counts of one layer, with the measures of `LayerStatistics`.

    Only integers, and numbers per map that are summed without rounding, are added over images, so neither the order nor
    the size of batches changes a measure.

    Args:
        size: height and width of the searched map.
        K: slots of each position.
    """

    def __init__(self, size: tuple[int, int], K: int) -> None:
        self.size = size
        self.K = K
        self._neighbors = 0
        self._outside = 0
        self._in_window = 0
        self._at_squared_distance = torch.zeros(0, dtype=torch.long)
        self._classified = 0
        self._agreeing = 0
        self._agreeing_by_chance = 0  # times the number of other positions
        self._hubness: list[float] = []
        self._never_chosen: list[float] = []
        self._most_chosen: list[float] = []
        self._true, self._found = 0, 0

    def add(self, choices: Choices, classes: Tensor | None) -> None:
        """Add a batch; `classes` (B, H * W) gives the class of every position of the map, if known.

        Raises:
            InputError: the map has a different size.
        """
        if choices.size != self.size:
            raise InputError(f"maps of {choices.size} and {self.size} cannot be averaged; give images of one size")
        offsets = choices.places - choices.queries[:, None]
        neighbors = choices.is_filled & (offsets != 0).any(dim=-1)
        size = torch.tensor(choices.size, device=choices.places.device)
        on_map = neighbors & ((choices.places >= 0) & (choices.places < size)).all(dim=-1)
        self._neighbors += int(neighbors.sum())
        self._outside += int((neighbors & ~on_map).sum())
        self._add_places(offsets, neighbors if choices.outside == "padding" else on_map)
        self._add_occurrences(self._flat(choices.places), on_map)
        if classes is not None:
            self._add_classes(classes, self._flat(choices.queries), self._flat(choices.places), on_map)

    def add_recall(self, found: Choices, exact: Choices) -> None:
        """Count how many of the exact neighbours, without the positions themselves, were found."""
        others = (exact.places != exact.queries[:, None]).any(dim=-1)
        is_found = (exact.places.unsqueeze(-2) == found.places.unsqueeze(-3)).all(dim=-1).any(dim=-1)
        self._true += int(others.sum())
        self._found += int((others & is_found).sum())

    def _flat(self, places: Tensor) -> Tensor:
        """Return the raster indices of places (..., 2) on the map."""
        return places[..., 0] * self.size[1] + places[..., 1]

    def _add_places(self, offsets: Tensor, has_place: Tensor) -> None:
        self._in_window += int((has_place & (offsets.abs().amax(dim=-1) <= window_side(self.K) // 2)).sum())
        counts = offsets.square().sum(dim=-1)[has_place].bincount().cpu()
        longest = max(len(counts), len(self._at_squared_distance))
        counts, known = (torch.nn.functional.pad(c, [0, longest - len(c)]) for c in (counts, self._at_squared_distance))
        self._at_squared_distance = known + counts

    def _add_occurrences(self, chosen: Tensor, on_map: Tensor) -> None:
        for counts in k_occurrences(chosen, on_map, self.size[0] * self.size[1]).cpu().double():
            self._hubness.append(skewness(counts))
            self._never_chosen.append((counts == 0).double().mean().item())
            self._most_chosen.append(counts.max().item())

    def _add_classes(self, classes: Tensor, queries: Tensor, chosen: Tensor, on_map: Tensor) -> None:
        own = classes[:, None, queries, None]
        chosen_classes = classes[:, None, None].expand(*chosen.shape[:3], -1).gather(-1, chosen.where(on_map, 0))
        self._classified += int(on_map.sum())
        self._agreeing += int((on_map & (own == chosen_classes)).sum())
        for image_classes, num_neighbors in zip(classes, on_map.sum(dim=(1, 3)), strict=True):
            peers = image_classes.bincount()[image_classes[queries]] - 1
            self._agreeing_by_chance += int((num_neighbors * peers).sum())

    @property
    def distance(self) -> float:
        counts = self._at_squared_distance.double()
        lengths = torch.arange(len(counts), dtype=torch.float64).sqrt()
        return _ratio(float(counts @ lengths), float(counts.sum()))

    @property
    def in_window(self) -> float:
        return _ratio(self._in_window, self._neighbors)

    @property
    def outside(self) -> float:
        return _ratio(self._outside, self._neighbors)

    @property
    def hubness(self) -> float:
        return _mean(self._hubness)

    @property
    def never_chosen(self) -> float:
        return _mean(self._never_chosen)

    @property
    def most_chosen(self) -> float:
        return _mean(self._most_chosen)

    @property
    def class_agreement(self) -> float:
        return _ratio(self._agreeing, self._classified)

    @property
    def chance_agreement(self) -> float:
        return _ratio(self._agreeing_by_chance, self._classified * (self.size[0] * self.size[1] - 1))

    @property
    def recall(self) -> float:
        return _ratio(self._found, self._true)


def k_occurrences(chosen: Tensor, mask: Tensor, positions: int) -> Tensor:
    """Count how often each position of each map is chosen, (B * heads, T), by indices (B, heads, N, K) where `mask`."""
    maps = chosen.shape[0] * chosen.shape[1]
    first = torch.arange(maps, device=chosen.device).view(*chosen.shape[:2], 1, 1) * positions
    return (first + chosen)[mask].bincount(minlength=maps * positions).view(maps, positions)


def skewness(values: Tensor) -> float:
    """Return the third central moment over the cube of the standard deviation, or 0 if all values are equal."""
    deviations = values - values.mean()
    variance = deviations.square().mean().item()
    return deviations.pow(3).mean().item() / variance**1.5 if variance else 0.0


def _mean(values: list[float]) -> float:
    return fsum(values) / len(values) if values else nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else nan
