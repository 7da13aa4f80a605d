"""Training: configuration, loop, and what a run leaves behind."""

from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Recipe, load_checkpoint, save_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.console import ConsoleReport, print_summary
from convnn.train.device import find_device, make_accelerator
from convnn.train.folder import RunFolder
from convnn.train.metrics import EpochResult, Meter, Scores
from convnn.train.summary import NetworkSummary, parameter_table, summarize
from convnn.train.tensorboard import TensorBoardLog
from convnn.train.trainer import Trainer, evaluate

__all__ = [
    "Callback",
    "ConsoleReport",
    "EpochResult",
    "Meter",
    "NetworkSummary",
    "Recipe",
    "RunFolder",
    "Scores",
    "TensorBoardLog",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "find_device",
    "load_checkpoint",
    "make_accelerator",
    "parameter_table",
    "print_summary",
    "save_checkpoint",
    "summarize",
]
