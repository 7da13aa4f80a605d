"""Data sets of scene graphs, for the Trainer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.scene_graphs.files import read_scene_parts
from convnn.data.scene_graphs.made import make_scene_graphs
from convnn.data.seeds import make_generator
from convnn.errors import InputError
from convnn.ops.scene_graphs import TABLES, SceneGraphs

COUNTS = {"train": 4096, "test": 512}
"""Number of generated scene graphs of each part."""
PARTS = ("train", "val", "test")
KEPT = 0.8
"""Share of the pictures of a single file that is for training."""


class SceneGraphLoader(EpochLoader):
    """Batches of scene graphs, as `SceneGraphs`; all labels are 0."""

    def __init__(self, graphs: SceneGraphs, settings: LoaderSettings) -> None:
        super().__init__(len(graphs), settings)
        moved = {name: getattr(graphs, name).to(settings.device) for name in TABLES}
        self._graphs = replace(graphs, **moved)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            yield Batch(self._graphs[indices], torch.zeros_like(indices), indices)


def build_scenes(options: Options) -> LabelledData:
    """Build generated scene graphs, or those of JSON files.

    The shape of the inputs is (N, K, R): the most objects, the categories and the predicates; `names` has the words of
    both.

    Raises:
        InputError: a file is missing or bad, or there are none.
    """
    if options.name == "made_scenes":
        found = {part: make_scene_graphs(count, number) for number, (part, count) in enumerate(COUNTS.items())}
    else:
        found = _from_files(options)
    loaders = {}
    for part, graphs in found.items():
        chosen = graphs[torch.tensor(options.subset(part, len(graphs)))]
        loaders[part] = SceneGraphLoader(chosen, options.settings(part, ((), ())))
    first = found["train"]
    shape = (first.flags.shape[1], len(first.categories), len(first.predicates))
    return LabelledData(
        options.name,
        loaders["train"],
        loaders["test"],
        (),
        shape,
        (),
        (),
        loaders.get("val"),
        task="modelling",
        kind="scene",
        names=first.categories + first.predicates,
    )


def _from_files(options: Options) -> dict[str, SceneGraphs]:
    root = options.data_path
    if root.is_file():
        (graphs,) = read_scene_parts({"all": [root]}).values()
        return _divided(graphs, root, options.split or 0)
    paths = {part: _paths(root, part) for part in PARTS}
    missing = [part for part in ("train", "test") if not paths[part]]
    if missing:
        raise InputError(
            f"data_path={str(root)!r} has no {missing[0]}.json and no folder {missing[0]} with .json files; name a"
            " folder with both parts, or one file"
        )
    return read_scene_parts({part: found for part, found in paths.items() if found})


def _paths(root: Path, part: str) -> list[Path]:
    """Return PART.json, or all of PART/*.json."""
    one = root / f"{part}.json"
    return [one] if one.is_file() else sorted((root / part).glob("*.json"))


def _divided(graphs: SceneGraphs, path: Path, split: int) -> dict[str, SceneGraphs]:
    """Return four fifths for training and one for the test, drawn by the number of the split."""
    if len(graphs) < 2:
        raise InputError(f"data_path={str(path)!r} has one picture; give two at least, to train and to test")
    order = torch.randperm(len(graphs), generator=make_generator("scenes", split))
    count = min(len(graphs) - 1, max(1, round(KEPT * len(graphs))))
    return {"train": graphs[order[:count]], "test": graphs[order[count:]]}
