"""Loss, optimizer and learning rate by their flags."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from convnn.train.config import TrainConfig

Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits (B, classes) and labels (B,), summed over the batch."""
    return F.cross_entropy(_precise(logits), labels, reduction="sum")


def one_hot_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error of logits (B, classes) and one-hot labels (B,), the mean over classes summed over the batch."""
    logits = _precise(logits)
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.mse_loss(logits, targets, reduction="sum") / logits.shape[1]


def _precise(logits: Tensor) -> Tensor:
    """Half precision cannot hold a sum over a batch."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


CRITERIA: dict[str, Criterion] = {"CrossEntropy": cross_entropy, "MSE": one_hot_mse}
"""Sums over samples, which processes that share a batch can add up."""


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of `--optimizer`, one fused update for all parameters."""
    parameters = network.parameters()
    lr, weight_decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        fused = not config.fsdp  # torch has no fused SGD for sharded weights
        return torch.optim.SGD(parameters, lr, momentum=config.momentum, weight_decay=weight_decay, fused=fused)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
    return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)


class Schedule:
    """The learning rate over the epochs: `advance` after each with its test accuracy.

    The scheduler begins when the epochs of warm-up are over.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
        self.optimizer = optimizer
        self.warmup_epochs = config.warmup_epochs
        self.scheduler: lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau | None = None
        if config.scheduler == "step":
            self.scheduler = lr_scheduler.StepLR(optimizer, config.lr_step, config.lr_gamma)
        elif config.scheduler == "cosine":
            self.scheduler = lr_scheduler.CosineAnnealingLR(optimizer, config.num_epochs - config.warmup_epochs)
        elif config.scheduler == "plateau":
            self.scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=config.lr_gamma)

    @property
    def lr(self) -> float:
        """The rate of the coming epoch, but for the warm-up."""
        return float(self.optimizer.param_groups[0]["lr"])

    def warmth(self, epochs: float) -> float:
        """The share of the rate after so many epochs, the last of them perhaps in part."""
        return min(1.0, epochs / self.warmup_epochs) if self.warmup_epochs else 1.0

    @contextmanager
    def warming(self, epochs: float) -> Iterator[None]:
        """The rate of the step that ends after so many epochs."""
        (group,) = self.optimizer.param_groups
        rate = group["lr"]
        group["lr"] = rate * self.warmth(epochs)
        try:
            yield
        finally:
            group["lr"] = rate  # the scheduler goes on from it, and so does a run that is resumed

    def advance(self, epoch: int, test_top1: float) -> None:
        """End an epoch, counted from 1."""
        if epoch <= self.warmup_epochs:
            return
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(test_top1)
        elif self.scheduler is not None:
            self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """What `load` takes, as JSON can hold it."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Go on where another schedule was."""
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)
