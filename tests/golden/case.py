"""One file of published numbers."""

import json
from collections import UserDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from convnn.train.config import PUBLISHED_NAMES


class RecordingDict(UserDict):
    """A dictionary that records which of its keys were read."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self.asked: set[str] = set()
        super().__init__(items)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    @property
    def unread(self) -> list[str]:
        return sorted(self.data.keys() - self.asked)


@dataclass(frozen=True)
class Case:
    """Metadata and tensors of one file; it records what was read, so that nothing is overlooked."""

    path: Path
    metadata: Mapping[str, str]

    @property
    def layer(self) -> str:
        """The published name of the layer, function, loss or algorithm."""
        return self.metadata["layer"]

    @property
    def is_training(self) -> bool:
        """Whether the numbers are from training mode, the default of a new module."""
        return self.metadata.get("mode", "train").startswith("train")

    @cached_property
    def config(self) -> RecordingDict:
        """The published arguments."""
        return RecordingDict(json.loads(self.metadata["config"]))

    @cached_property
    def tensors(self) -> RecordingDict:
        """All tensors, by their published names."""
        with safe_open(self.path, "pt") as file:
            return RecordingDict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)

    def pick(self, *names: str, **renamed: str) -> dict[str, Any]:
        """Return arguments for our layer: published ones of the same name, if given, and `ours="theirs"`."""
        published = {ours: theirs for theirs, ours in PUBLISHED_NAMES.items() if theirs in self.config}
        same = {name: self.config[key] for name in names if (key := published.get(name, name)) in self.config}
        return same | {ours: self.config[theirs] for ours, theirs in renamed.items()}

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with `prefix.`, by the rest of the name."""
        names = [name for name in self.tensors if name.startswith(f"{prefix}.")]
        return {name.removeprefix(f"{prefix}."): self.tensors[name] for name in names}


def read_case(path: Path) -> Case:
    """Read the metadata of a file; tensors are read on access."""
    with safe_open(path, "pt") as file:
        return Case(path, file.metadata() or {})


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the `.safetensors` files in folders, at any depth, and given files."""
    for path in paths:
        yield from sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
