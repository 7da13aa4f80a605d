"""The search for a coarsening in progress: starts, and rounds of each, that can end anywhere and go on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError

Improve = Callable[[int, Tensor | None], tuple[Tensor, bool]]
"""Returns for a start and its labels (N,), or None before the first round, the next ones, and whether they are last."""


class CoarseningRun:
    """Descents from several starts, of which the best is kept; see `GWCoarsen`.

    Args:
        improve: a round of a start.
        objective: of labels (N,).
        starts: their number.
        rounds: the most of each start.

    Attributes:
        best: (N,) labels of the least objective so far, the first of equal ones; None before the first start ends.
        objectives: of the starts that have ended.
    """

    def __init__(self, improve: Improve, objective: Callable[[Tensor], float], starts: int, rounds: int) -> None:
        self.improve = improve
        self.objective = objective
        self.starts = starts
        self.rounds = rounds
        self.round = 0
        self.labels: Tensor | None = None
        self.best: Tensor | None = None
        self.objectives: list[float] = []

    @property
    def done(self) -> int:
        """Rounds done, or spared because labels did not change."""
        return len(self.objectives) * self.rounds + self.round

    @property
    def total(self) -> int:
        """Rounds in all."""
        return self.starts * self.rounds

    @property
    def is_over(self) -> bool:
        """Whether all starts have ended."""
        return len(self.objectives) == self.starts

    def advance(self) -> None:
        """Run one round."""
        labels, is_last = self.improve(len(self.objectives), self.labels)
        self.labels, self.round = labels, self.round + 1
        if is_last or self.round == self.rounds:
            found = self.objective(labels)
            if not self.objectives or found < min(self.objectives):
                self.best = labels
            self.objectives.append(found)
            self.labels, self.round = None, 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return labels and numbers from which `restore` goes on."""
        named = {"labels": self.labels, "best": self.best}
        tensors = {name: labels for name, labels in named.items() if labels is not None}
        return tensors, {"round": self.round, "objectives": self.objectives}

    def restore(self, tensors: dict[str, Tensor], places: dict[str, Any]) -> None:
        """Go on from a state of the same settings and graph.

        Raises:
            InputError: labels are no list of int64.
        """
        for name, labels in tensors.items():
            if labels.dim() != 1 or labels.dtype != torch.long:
                raise InputError(f"the state must have {name} as one list of int64")
        self.labels, self.best = tensors.get("labels"), tensors.get("best")
        self.round, self.objectives = places["round"], list(places["objectives"])
