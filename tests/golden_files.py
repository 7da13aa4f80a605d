"""Golden numbers of the published code: a compact copy here, all of them where `../shared/golden` is at hand."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

HERE = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One case: the published layer's name, its constructor arguments, and tensors by name."""

    layer: str
    config: dict[str, object]
    tensors: dict[str, Tensor]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}


def read_golden(path: Path) -> Golden:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Golden(metadata["layer"], json.loads(metadata["config"]), tensors)


def golden_paths(*patterns: str) -> list[Path]:
    """Every golden file that fits a pattern: those of the full set if it is there, else those of the copy."""
    folder = SHARED if SHARED.is_dir() else HERE
    return sorted(path for pattern in patterns for path in folder.glob(f"{pattern}.safetensors"))
