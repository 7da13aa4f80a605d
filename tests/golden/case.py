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


class Noted(UserDict):
    """A dictionary that notes which of its keys somebody has asked for."""

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
    """Metadata and tensors of one file; it notes what was read of them, so that nothing is passed over unseen."""

    path: Path
    metadata: Mapping[str, str]

    @property
    def layer(self) -> str:
        """The published name of the layer, function, loss or algorithm."""
        return self.metadata["layer"]

    @property
    def is_training(self) -> bool:
        """A file that does not say it was taken as a new module is: in training."""
        return self.metadata.get("mode", "train").startswith("train")

    @cached_property
    def config(self) -> Noted:
        """The published arguments."""
        return Noted(json.loads(self.metadata["config"]))

    @cached_property
    def tensors(self) -> Noted:
        """All tensors, under the published names."""
        with safe_open(self.path, "pt") as file:
            return Noted({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)

    def pick(self, *names: str, **renamed: str) -> dict[str, Any]:
        """Arguments of ours: published ones of the same name, where they are given, and `ours="theirs"`."""
        published = {ours: theirs for theirs, ours in PUBLISHED_NAMES.items() if theirs in self.config}
        same = {name: self.config[key] for name in names if (key := published.get(name, name)) in self.config}
        return same | {ours: self.config[theirs] for ours, theirs in renamed.items()}

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        names = [name for name in self.tensors if name.startswith(f"{prefix}.")]
        return {name.removeprefix(f"{prefix}."): self.tensors[name] for name in names}


def read_case(path: Path) -> Case:
    """Its metadata; tensors are read when somebody asks for them."""
    with safe_open(path, "pt") as file:
        return Case(path, file.metadata() or {})


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The `.safetensors` in folders, at any depth, and files as they are."""
    for path in paths:
        yield from sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
