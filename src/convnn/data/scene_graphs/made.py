"""Scene graphs that need no file: objects whose size follows from their category, and relations from their boxes."""

import torch

from convnn.data.seeds import make_generator
from convnn.errors import InputError, check_at_least
from convnn.ops.scene_graphs import SPATIAL, SceneGraphs, spatial_relations

SHARES = {"cup": 0.3, "book": 0.25, "lamp": 0.2, "chair": 0.15, "table": 0.1}
"""The categories, from small to large, and how often an object is one of them."""
LEAST, STEP = 0.1, 0.08


def size_of(types: torch.Tensor) -> torch.Tensor:
    """Return the side of the square box of each category: 0.1 + 0.08 times its number."""
    return LEAST + STEP * types


def make_scene_graphs(
    number: int,
    seed: int = 0,
    *,
    nodes: tuple[int, int] = (3, 4),
    max_nodes: int | None = None,
    inside: bool = True,
) -> SceneGraphs:
    """Draw scene graphs: categories by `SHARES`, boxes of `size_of` anywhere in the picture, `spatial_relations`.

    Args:
        number: number of graphs.
        seed: seed of the drawing.
        nodes: the fewest and the most objects of a graph; numbers between are as likely.
        max_nodes: N of the tables; None is the most objects.
        inside: whether objects can be inside of others.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> graphs = make_scene_graphs(2, nodes=(2, 3))
        >>> graphs.types.shape, graphs.relations.shape
        (torch.Size([2, 3]), torch.Size([2, 3, 3]))
    """
    check_at_least("number", number, 1)
    least, most = nodes
    check_at_least("nodes[0]", least, 1)
    check_at_least("nodes[1]", most, least)
    size = most if max_nodes is None else max_nodes
    if size < most:
        raise InputError(f"max_nodes={size} must be at least {most}, the most objects of a graph")
    generator = make_generator("scene graphs", seed)
    count = torch.randint(least, most + 1, (number, 1), generator=generator)
    flags = torch.arange(size) < count
    shares = torch.tensor(list(SHARES.values())).expand(number, -1)
    types = shares.multinomial(size, replacement=True, generator=generator)
    sides = size_of(types).unsqueeze(2)
    centres = sides / 2 + (1 - sides) * torch.rand(number, size, 2, generator=generator)
    boxes = torch.cat([centres, sides, sides], dim=2) * flags.unsqueeze(2)
    names = SPATIAL if inside else SPATIAL[:3]
    relations = spatial_relations(boxes, flags, inside=inside)
    return SceneGraphs(types * flags, boxes, relations, flags, tuple(SHARES), names)
