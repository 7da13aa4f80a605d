"""Scene graphs as JSON, as Visual Genome has them: a list of pictures with objects, boxes and relationships."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from convnn.errors import InputError, check_at_least
from convnn.files import check_new, refuse_bad_parts, write_atomically
from convnn.ops.scene_graphs import NONE, SceneGraphs


@dataclass(frozen=True)
class _Scene:
    """The objects of a picture, each a category and a box, and the relations between their places in the list."""

    objects: list[tuple[str, list[float]]]
    relations: dict[tuple[int, int], str]


def read_scene_graphs(path: Path | str, *, max_nodes: int | None = None) -> SceneGraphs:
    """Read scene graphs from a JSON file, which is a list of pictures.

    ```json
    {"width": 640, "height": 480,
     "objects": [{"object_id": 7, "names": ["cup"], "x": 10, "y": 20, "w": 64, "h": 48}, ...],
     "relationships": [{"subject_id": 7, "predicate": "left of", "object_id": 9}, ...]}
    ```

    An object has `name` or, of several `names`, the first. Boxes are left and upper edge, width and height in pixels;
    they are cut at the borders of the picture. Without `width` and `height`, the picture ends where its boxes do. Of
    several relations from one object to another, the first is kept. Categories and predicates are numbered in the order
    in which they appear.

    Args:
        path: the file, in UTF-8.
        max_nodes: N of the tables; None is the largest number of objects.

    Raises:
        InputError: the file cannot be read or is no such list; or entries of it are bad, and the message has the number
            of the first three, counted from 1.
    """
    scenes = _read(Path(path), max_nodes)
    return _numbered([scenes], max_nodes or _most([scenes]))[0]


def read_scene_parts(parts: Mapping[str, Sequence[Path]]) -> dict[str, SceneGraphs]:
    """Read the files of each part of a data set, as `read_scene_graphs` does, with the same numbers in all parts.

    N is the largest number of objects of all.

    Raises:
        InputError: see `read_scene_graphs`.
    """
    scenes = [[scene for path in paths for scene in _read(path, None)] for paths in parts.values()]
    return dict(zip(parts, _numbered(scenes, _most(scenes)), strict=True))


def _most(parts: Sequence[Sequence[_Scene]]) -> int:
    return max(len(scene.objects) for scenes in parts for scene in scenes)


def _read(path: Path, max_nodes: int | None) -> list[_Scene]:
    scenes: list[_Scene] = []
    bad: list[str] = []
    for number, entry in enumerate(_entries(path), 1):
        try:
            scenes.append(_scene(entry, max_nodes))
        except ValueError as reason:  # noqa: PERF203 (all bad entries are told)
            bad.append(f"entry {number:,}: {reason}")
    refuse_bad_parts(path, bad, "bad entry", "bad entries")
    return scenes


def write_scene_graphs(path: Path | str, graphs: SceneGraphs, *, overwrite: bool = False) -> Path:
    """Write scene graphs as `read_scene_graphs` reads them, with pictures of side 1.

    Raises:
        InputError: the file exists, and `overwrite` is not set.
        OutputError: it cannot be written.
    """
    path = Path(path)
    check_new(path, overwrite=overwrite)
    write_atomically(path, json.dumps([_as_entry(graphs, i) for i in range(len(graphs))], indent=1) + "\n")
    return path


def _entries(path: Path) -> Sequence[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, json.JSONDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else f"it is no JSON: {error}"
        raise InputError(f"'{path}' cannot be read: {reason}") from None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"'{path}' must hold a list of pictures, each with objects and relationships")
    return entries


def _scene(entry: Any, max_nodes: int | None) -> _Scene:
    """Return what an entry says.

    Raises:
        ValueError: it is no picture; the message is the reason.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("objects"), list) or not entry["objects"]:
        raise ValueError("it has no list of objects")
    found = [_object(one, place) for place, one in enumerate(entry["objects"], 1)]
    if max_nodes is not None and len(found) > max_nodes:
        raise ValueError(f"it has {len(found)} objects, more than max_nodes={max_nodes}")
    ends = [max(box[axis] + box[axis + 2] for _, _, box in found) for axis in (0, 1)]
    given = [entry.get(name, end) for name, end in zip(("width", "height"), ends, strict=True)]
    if not all(_is_number(side) and side > 0 for side in given):
        raise ValueError(f"width {given[0]!r} and height {given[1]!r} must be above 0")
    objects = [(name, _cut(box, given, place)) for place, (_, name, box) in enumerate(found, 1)]
    places = {identity: place for place, (identity, _, _) in enumerate(found)}
    if len(places) < len(found):
        raise ValueError("two of its objects have the same object_id")
    relations: dict[tuple[int, int], str] = {}
    for place, one in enumerate(entry.get("relationships", []), 1):
        pair, predicate = _relation(one, place, places)
        relations.setdefault(pair, predicate)
    return _Scene(objects, relations)


def _object(one: Any, place: int) -> tuple[Any, str, list[float]]:
    if not isinstance(one, Mapping):
        raise ValueError(f"object {place} is not a mapping of names to values")
    names = one.get("names")
    name = names[0] if isinstance(names, list) and names else one.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"object {place} has no name")
    box = [one.get(side) for side in "xywh"]
    if not all(_is_number(side) for side in box) or not (box[2] > 0 and box[3] > 0):  # type: ignore[operator]
        raise ValueError(f"object {place} has the box x, y, w, h = {box}, but w and h must be above 0")
    return one.get("object_id", place), name.strip(), box  # type: ignore[return-value]


def _cut(box: list[float], picture: Sequence[float], place: int) -> list[float]:
    """Return centre and size of a box, as shares of the picture."""
    edges = [(max(0.0, box[i] / side), min(1.0, (box[i] + box[i + 2]) / side)) for i, side in enumerate(picture)]
    if any(last <= first for first, last in edges):
        raise ValueError(f"object {place} lies outside of the picture")
    return [(first + last) / 2 for first, last in edges] + [last - first for first, last in edges]


def _relation(one: Any, place: int, places: Mapping[Any, int]) -> tuple[tuple[int, int], str]:
    if not isinstance(one, Mapping) or not isinstance(one.get("predicate"), str) or not one["predicate"].strip():
        raise ValueError(f"relationship {place} has no predicate")
    ends = [one.get(end, one.get(end.removesuffix("_id"))) for end in ("subject_id", "object_id")]
    ends = [end.get("object_id") if isinstance(end, Mapping) else end for end in ends]  # of whole objects
    for end, name in zip(ends, ("subject_id", "object_id"), strict=True):
        if not isinstance(end, int | str) or end not in places:
            raise ValueError(f"relationship {place} has {name} {end!r}, which no object has")
    return (places[ends[0]], places[ends[1]]), one["predicate"].strip()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _numbered(parts: Sequence[Sequence[_Scene]], size: int) -> list[SceneGraphs]:
    """Return the graphs of each part; categories and predicates are numbered as they come."""
    check_at_least("max_nodes", size, 1)
    scenes = [scene for part in parts for scene in part]
    categories: dict[str, int] = {}
    predicates = {NONE: 0}
    tables = {
        "types": torch.zeros(len(scenes), size, dtype=torch.long),
        "boxes": torch.zeros(len(scenes), size, 4),
        "relations": torch.zeros(len(scenes), size, size, dtype=torch.long),
        "flags": torch.zeros(len(scenes), size, dtype=torch.bool),
    }
    for row, scene in enumerate(scenes):
        tables["flags"][row, : len(scene.objects)] = True
        for place, (name, box) in enumerate(scene.objects):
            tables["types"][row, place] = categories.setdefault(name, len(categories))
            tables["boxes"][row, place] = torch.tensor(box)
        for (first, second), predicate in scene.relations.items():
            tables["relations"][row, first, second] = predicates.setdefault(predicate, len(predicates))
    graphs, ends = SceneGraphs(**tables, categories=tuple(categories), predicates=tuple(predicates)), [0]
    ends += accumulate(len(part) for part in parts)
    return [graphs[slice(*bounds)] for bounds in pairwise(ends)]


def _as_entry(graphs: SceneGraphs, row: int) -> dict[str, Any]:
    size = int(graphs.sizes[row])
    objects = []
    for place in range(size):
        x, y, w, h = graphs.boxes[row, place].tolist()
        name = graphs.categories[int(graphs.types[row, place])]
        objects.append({"object_id": place, "names": [name], "x": x - w / 2, "y": y - h / 2, "w": w, "h": h})
    pairs = graphs.relations[row, :size, :size].nonzero().tolist()
    relationships = [
        {"subject_id": i, "predicate": graphs.predicates[int(graphs.relations[row, i, j])], "object_id": j}
        for i, j in pairs
    ]
    return {"width": 1, "height": 1, "objects": objects, "relationships": relationships}
