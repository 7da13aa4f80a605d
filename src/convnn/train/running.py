"""The interface between a run in progress and its checkpoints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from convnn.data import LabelledData
from convnn.models import Network
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Meter
from convnn.train.objective import Objective
from convnn.train.optim import Schedule
from convnn.train.processes import Processes

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Position:
    """The position of a run.

    Attributes:
        epoch: the current epoch, from 1.
        step: number of its steps that are done.
        seconds: time that they took.
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0


class Running(Protocol):
    """The parts of a trainer that a checkpoint saves and restores."""

    network: Network
    objective: Objective
    model: nn.Module
    data: LabelledData
    config: TrainConfig
    accelerator: "Accelerator"
    processes: Processes
    optimizer: Any
    schedule: Schedule
    meter: Meter
    position: Position
    results: list[EpochResult]

    @property
    def broken_images(self) -> set[str]:
        """Messages about the training images that were skipped."""

    @property
    def num_steps(self) -> int:
        """Number of steps per epoch."""
