"""A run in progress, as its checkpoints see it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from convnn.data import ImageData
from convnn.models import Network
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Meter
from convnn.train.optim import Schedule
from convnn.train.processes import Processes

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Position:
    """Where a run is.

    Attributes:
        epoch: the one in hand, from 1.
        step: steps of it that are done.
        seconds: they took.
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0


class Running(Protocol):
    """What a checkpoint takes from a trainer, and gives back to another."""

    network: Network
    model: nn.Module
    data: ImageData
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
        """What was said of training images that were left out."""

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
