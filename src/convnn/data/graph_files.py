"""Published graphs from the raw files that PyTorch Geometric reads; processed data is kept in memory only."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convnn.data.geometric import import_geometric
from convnn.errors import InputError

if TYPE_CHECKING:
    from torch_geometric.data import Data

NAMES = {
    "Planetoid": ("Cora", "CiteSeer"),
    "WebKB": ("texas", "cornell", "wisconsin"),
    "TUDataset": ("MUTAG", "PROTEINS"),
}
"""The data sets of each class of PyTorch Geometric."""
FOLDERS = {"Planetoid": "planetoid", "WebKB": "webkb", "TUDataset": "tu"}
PLANETOID_SHA256 = {
    "Cora": "0ce1f9117972bdd087a19062d3decca8abfdfef042468c282c2b977642e057dd",
    "CiteSeer": "cbadbc965a18fe92dd73960a02a21e4e098723aebcdbe7e03c407a3971644413",
}
"""Digests of the eight published files, concatenated: they are pickles, and a pickle can run any code."""


def read_planetoid(data_path: Path, name: str, split: int) -> list[Data]:
    """Read citations between papers, undirected, with the public split; only the published files are unpickled.

    Raises:
        InputError: files are missing or differ from the published ones.
    """

    def check(paths: Iterable[Path]) -> None:
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        if digest != PLANETOID_SHA256[name]:
            raise InputError(
                f"data_path={str(data_path)!r}: the files of {name} are not the published ones; copy them again"
            )

    return _read("Planetoid", data_path, name, check)


def read_webkb(data_path: Path, name: str, split: int) -> list[Data]:
    """Read links between the pages of a university, directed, with one of the ten published splits.

    Raises:
        InputError: files are missing or broken, or there is no such split.
    """
    (graph,) = _read("WebKB", data_path, name)
    splits = graph.train_mask.shape[1]
    if split >= splits:
        raise InputError(f"split={split} of {name} must lie between 0 and {splits - 1}")
    for part in ("train_mask", "val_mask", "test_mask"):
        graph[part] = graph[part][:, split]
    return [graph]


def read_tu(data_path: Path, name: str, split: int) -> list[Data]:
    """Read many graphs, molecules or proteins, each with a label; there is no published split.

    Raises:
        InputError: files are missing or broken.
    """
    return _read("TUDataset", data_path, name)


READERS: dict[str, Callable[[Path, str, int], list[Any]]] = {
    "Planetoid": read_planetoid,
    "WebKB": read_webkb,
    "TUDataset": read_tu,
}


def _read(family: str, data_path: Path, name: str, check: Callable[[Iterable[Path]], None] | None = None) -> list[Any]:
    """Read data_path/<folder>/NAME/raw by a class of PyTorch Geometric."""
    kind, raw = getattr(import_geometric("datasets"), family), data_path / FOLDERS[family] / name / "raw"
    if not raw.is_dir():
        raise InputError(f"data_path={str(data_path)!r} has no folder {FOLDERS[family]}/{name}/raw")
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        try:
            return list(_in_memory_class(kind, raw, scratch, check)(scratch, name))
        except InputError:
            raise
        except Exception as error:  # a damaged file raises errors of many types
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(f"data_path={str(data_path)!r}: the files of {name} cannot be read ({reason})") from error


def _in_memory_class(kind: Any, raw: Path, scratch: str, check: Callable[[Iterable[Path]], None] | None) -> Any:
    """Return a subclass that neither downloads nor writes beside the raw files."""

    class InMemory(kind):  # type: ignore[misc]
        raw_dir = str(raw)
        processed_dir = scratch

        def download(self) -> None:
            missing = [path for path in self.raw_file_names if not (raw / path).is_file()]
            raise InputError(f"{str(raw)!r} lacks {', '.join(missing)}; get them from {self.url}")

        def process(self) -> None:
            if check is not None:
                check(Path(path) for path in self.raw_paths)
            super().process()

    return InMemory
