"""Edges read from a text file, with a report of the lines that are wrong."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.files import BadLine, refuse_bad_lines
from convnn.words import counted

BLOCK = 1 << 24  # bytes read at once
SEPARATOR = re.compile(r"[,;\s]+")
SPARSEST = 1000  # nodes for each edge: beyond that they are numbered otherwise
LARGEST = 1 << 53  # numbers up to it are exact in float64


@dataclass(frozen=True)
class EdgeFile:
    """What a file of edges holds.

    Attributes:
        edge_index: (2, E) int64, sources and targets in the order of the lines.
        edge_weight: (E,) float64, or None where no line has a weight.
        bad: the lines that are no edges.
    """

    edge_index: Tensor
    edge_weight: Tensor | None
    bad: list[BadLine]

    @property
    def num_nodes(self) -> int:
        """One more than the largest node."""
        return int(self.edge_index.max()) + 1 if self.edge_index.numel() else 0

    def check(self, path: Path) -> None:
        """Refuse a file with bad lines.

        Raises:
            InputError: there are some; the message has the first three.
        """
        refuse_bad_lines(path, self.bad)


def read_edges(path: Path, told: Callable[[int, int], None] = lambda *_: None) -> EdgeFile:
    """Read a file with an edge a line: source, target and perhaps a positive weight, separated by commas or blanks.

    Nodes are numbers from 0. A first line of names is skipped, and so are empty lines and those that begin with #.

    Args:
        path: the file.
        told: called with the bytes read and those in all.

    Raises:
        InputError: the file cannot be read, holds no edge, or its nodes are not numbered from 0 on.
    """
    parts: list[np.ndarray] = []
    bad: list[BadLine] = []
    number = 1  # of the next line
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while block := file.read(BLOCK) + file.readline():
                text = block.decode("utf-8", "replace")
                parts.append(_read_quickly(text) if number > 1 else _read_lines(text, number, bad))
                if parts[-1].shape[1] != 3:
                    parts[-1] = _read_lines(text, number, bad)
                number += text.count("\n")
                told(file.tell(), size)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from None
    rows = np.concatenate(parts) if parts else np.empty((0, 3))
    if not len(rows) and not bad:
        raise InputError(f"'{path}' holds no edge; each line must be source,target or source,target,weight")
    if len(rows) and rows[:, :2].max() > SPARSEST * (len(rows) + 1):
        most = f"{counted(len(rows), 'edge')} but a node {int(rows[:, :2].max()):,}"
        raise InputError(f"'{path}' has {most}; nodes must be numbered from 0 on")
    weights = None if np.isnan(rows[:, 2]).all() else torch.from_numpy(np.nan_to_num(rows[:, 2], nan=1.0))
    return EdgeFile(torch.from_numpy(rows[:, :2].T.astype(np.int64)), weights, bad)


def _read_quickly(text: str) -> np.ndarray:
    """Return rows of source, target and weight or NaN; something of another width unless all lines are good."""
    wrong = np.empty((0, 0))
    try:
        rows = np.loadtxt(io.StringIO(text), delimiter="," if "," in text else None, ndmin=2)
    except ValueError:
        return wrong
    if rows.shape[1] == 2:
        rows = np.column_stack([rows, np.full(len(rows), np.nan)])
    elif rows.shape[1] != 3 or not (rows[:, 2] > 0).all() or not np.isfinite(rows[:, 2]).all():
        return wrong
    nodes = rows[:, :2]
    is_good = (nodes >= 0) & (nodes < LARGEST) & (nodes == np.floor(nodes))
    return rows if is_good.all() else wrong


def _read_lines(text: str, number: int, bad: list[BadLine]) -> np.ndarray:
    """Return the rows of good lines, and add the others to `bad`."""
    rows = []
    for i, line in enumerate(text.splitlines(), number):
        line = line.partition("#")[0].strip()
        if not line or (i == 1 and re.fullmatch(r"[A-Za-z_][\w ]*([,;\t ][\w ]*)+", line)):
            continue
        row = _read_line(line)
        if isinstance(row, str):
            bad.append(BadLine(i, row))
        else:
            rows.append(row)
    return np.array(rows, dtype=float).reshape(-1, 3)


def _read_line(line: str) -> tuple[float, float, float] | str:
    """Return the edge of a line, or what is wrong with it."""
    words = SEPARATOR.split(line)
    if len(words) not in (2, 3):
        return f"it has {counted(len(words), 'field')}; it must have source, target and perhaps a weight"
    for word in words[:2]:
        if not word.isdecimal() or int(word) >= LARGEST:
            return f"{word!r} is no node; it must be a whole number of at least 0"
    try:
        weight = float(words[2]) if len(words) == 3 else float("nan")
    except ValueError:
        weight = -1.0
    if len(words) == 3 and not 0 < weight < float("inf"):
        return f"{words[2]!r} is no weight; it must be a positive number"
    return float(words[0]), float(words[1]), weight
