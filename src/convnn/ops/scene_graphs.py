"""Scene graphs: objects of some category with boxes, and relations between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.ops.boxes import corners
from convnn.ops.dense_graphs import pairs_of

NONE = "none"
"""The first predicate: no relation."""
SPATIAL = (NONE, "left of", "above", "inside")
"""Predicates of `spatial_relations`."""
TABLES = ("types", "boxes", "relations", "flags")
"""The tensors of `SceneGraphs`."""


@dataclass(frozen=True)
class SceneGraphs:
    """B scene graphs of at most N objects, the real ones first.

    Attributes:
        types: (B, N) int64, the category of each object; 0 where there is none.
        boxes: (B, N, 4) centre, width and height, from 0 to 1; 0 where there is no object.
        relations: (B, N, N) int64, the predicate from object i (row) to object j (column); 0 is none.
        flags: (B, N) bool, which objects there are.
        categories: names of the types.
        predicates: names of the relations, of which the first is none.

    Raises:
        InputError: shapes do not fit, or a type, a box or a relation is out of range.
    """

    types: Tensor
    boxes: Tensor
    relations: Tensor
    flags: Tensor
    categories: tuple[str, ...]
    predicates: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.flags.dim() != 2 or self.flags.dtype != torch.bool:
            raise InputError(f"flags of shape {tuple(self.flags.shape)} and {self.flags.dtype} must be (B, N) and bool")
        number, size = self.flags.shape
        shapes = {"types": (number, size), "boxes": (number, size, 4), "relations": (number, size, size)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"{name} of shape {tuple(getattr(self, name).shape)} must be {shape}, as flags say")
        for name, names in (("types", self.categories), ("relations", self.predicates)):
            _check_numbers(name, getattr(self, name), len(names))
        outside = ~((self.boxes >= 0) & (self.boxes <= 1))
        if outside.any():
            raise InputError(f"boxes have {self.boxes[outside][0].item():g}, but must be from 0 to 1")

    def __len__(self) -> int:
        return self.flags.shape[0]

    def __getitem__(self, chosen: slice | Tensor) -> "SceneGraphs":
        """Return some of the graphs."""
        parts = {name: getattr(self, name)[chosen] for name in TABLES}
        return replace(self, **parts)

    @property
    def sizes(self) -> Tensor:
        """The number of objects of each graph, (B,)."""
        return self.flags.sum(1)

    def renamed(self, categories: Sequence[str], predicates: Sequence[str]) -> "SceneGraphs":
        """Return the same graphs with as many other names.

        Raises:
            InputError: there are more or fewer names.
        """
        if (len(categories), len(predicates)) != (len(self.categories), len(self.predicates)):
            raise InputError(
                f"names of {len(categories)} categories and {len(predicates)} predicates must be for"
                f" {len(self.categories)} and {len(self.predicates)}"
            )
        return replace(self, categories=tuple(categories), predicates=tuple(predicates))

    def resized(self, size: int) -> "SceneGraphs":
        """Return the same graphs in tables for another number of objects, which every graph must have room in.

        Raises:
            InputError: a graph has more objects.
        """
        more = size - self.flags.shape[1]
        if more < 0 and self.flags[:, size:].any():
            raise InputError(f"size={size} must be at least {int(self.sizes.max())}, the most objects of a graph")
        ends = {"types": (0, more), "boxes": (0, 0, 0, more), "relations": (0, more, 0, more), "flags": (0, more)}
        tables: dict[str, Any] = {name: F.pad(getattr(self, name), end) for name, end in ends.items()}
        return replace(self, **tables)

    def shuffled(self, generator: torch.Generator | None = None) -> "SceneGraphs":
        """Return the same graphs with the objects of each in a random order."""
        draws = torch.rand(self.flags.shape, generator=generator, device=self.flags.device)
        order = (draws + 2 * ~self.flags).argsort(1)
        rows = torch.arange(len(self), device=order.device).unsqueeze(1)
        relations = self.relations[rows.unsqueeze(2), order.unsqueeze(2), order.unsqueeze(1)]
        return replace(self, types=self.types[rows, order], boxes=self.boxes[rows, order], relations=relations)


def joined(parts: Sequence[SceneGraphs]) -> SceneGraphs:
    """Return the graphs of all parts, which have one size and the names of the first, one after the other."""
    tables: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in parts]) for name in TABLES}
    return replace(parts[0], **tables)


def blank_graphs(
    number: int, size: int, categories: Sequence[str], predicates: Sequence[str], device: torch.device | str = "cpu"
) -> SceneGraphs:
    """Return scene graphs of one object of the first category each, or of none where size is 0."""
    settings: dict[str, Any] = {"dtype": torch.long, "device": device}
    types, relations = torch.zeros(number, size, **settings), torch.zeros(number, size, size, **settings)
    flags = torch.arange(size, device=device).expand(number, size) == 0
    boxes = torch.full((number, size, 4), 0.5, device=device) * flags.unsqueeze(2)
    return SceneGraphs(types, boxes, relations, flags, tuple(categories), tuple(predicates))


def spatial_relations(boxes: Tensor, flags: Tensor, *, inside: bool = True) -> Tensor:
    """Return the relation that boxes have to each other, one of `SPATIAL`, (B, N, N).

    An object is inside another if its box is within the other's, and smaller. Otherwise it is left of the other if the
    centre of the other is farther to the right than up or down, and above it if the centre is farther down than to a
    side. Of two objects, one has a relation to the other, unless their centres agree.

    Args:
        boxes: (B, N, 4) centre, width and height.
        flags: (B, N) bool, which objects there are.
        inside: whether there is that relation; without it, only centres count.
    """
    right, down = (boxes[:, None, :, :2] - boxes[:, :, None, :2]).unbind(-1)
    is_left = (right > 0) & (right.abs() >= down.abs())
    is_above = (down > 0) & (down.abs() > right.abs())
    relations = is_left.long() + 2 * is_above.long()
    if inside:
        edges = corners(boxes)
        a, b = edges.unsqueeze(2), edges.unsqueeze(1)
        within = (a[..., :2] >= b[..., :2]).all(-1) & (a[..., 2:] <= b[..., 2:]).all(-1)
        within &= ~within.mT  # not two boxes that agree
        relations = torch.where(within, 3, torch.where(within.mT, 0, relations))
    return relations * pairs_of(flags)


def pairs_apart(flags: Tensor) -> Tensor:
    """Return which ordered pairs of two different objects there are, (B, N, N) bool, of flags (B, N)."""
    return pairs_of(flags) & ~torch.eye(flags.shape[1], device=flags.device).bool()


def _check_numbers(name: str, numbers: Tensor, count: int) -> None:
    if numbers.dtype != torch.int64:
        raise InputError(f"{name} of {numbers.dtype} must be int64")
    wrong = (numbers < 0) | (numbers >= count)
    if wrong.any():
        raise InputError(f"{name} have {int(numbers[wrong][0])}, but must be from 0 to {count - 1}, the names' last")
