"""Training: configuration, loop, checkpoints and the files of a run."""

from convnn.interruption import Interrupted, Interruption
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import (
    Checkpoint,
    RunState,
    load,
    load_checkpoint,
    read_checkpoint,
    read_pretrained,
    save_checkpoint,
)
from convnn.train.config import TrainConfig
from convnn.train.console import ConsoleReport, print_summary
from convnn.train.device import find_device, make_accelerator
from convnn.train.folder import RunFolder
from convnn.train.initial import start_from
from convnn.train.metrics import EpochResult, Meter, Scores
from convnn.train.objective import Modelling, Objective, Outcome, Supervised, judging
from convnn.train.recipe import Recipe
from convnn.train.resume import ResumePoint, find_resume_point
from convnn.train.summary import NetworkSummary, parameter_table, summarize
from convnn.train.tensorboard import TensorBoardLog
from convnn.train.trainer import Trainer, evaluate

__all__ = [
    "Callback",
    "Checkpoint",
    "ConsoleReport",
    "EpochResult",
    "Interrupted",
    "Interruption",
    "Meter",
    "Modelling",
    "NetworkSummary",
    "Objective",
    "Outcome",
    "Recipe",
    "ResumePoint",
    "RunFolder",
    "RunState",
    "Scores",
    "Supervised",
    "TensorBoardLog",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "find_device",
    "find_resume_point",
    "judging",
    "load",
    "load_checkpoint",
    "make_accelerator",
    "parameter_table",
    "print_summary",
    "read_checkpoint",
    "read_pretrained",
    "save_checkpoint",
    "start_from",
    "summarize",
]
