"""Loss, optimizer and learning rate by their flags."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from convnn.train.config import TrainConfig

Criterion = Callable[[Tensor, Tensor], Tensor]


def one_hot_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between logits (B, classes) and one-hot labels (B,)."""
    return F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))


CRITERIA: dict[str, Criterion] = {"CrossEntropy": F.cross_entropy, "MSE": one_hot_mse}


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of `--optimizer`, one fused update for all parameters."""
    parameters = network.parameters()
    lr, weight_decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=config.momentum, weight_decay=weight_decay, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
    return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)


class Schedule:
    """The learning rate over the epochs: `advance` after each with its test accuracy."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
        self.optimizer = optimizer
        self.plateau: lr_scheduler.ReduceLROnPlateau | None = None
        self.fixed: lr_scheduler.LRScheduler | None = None
        if config.scheduler == "step":
            self.fixed = lr_scheduler.StepLR(optimizer, config.lr_step, config.lr_gamma)
        elif config.scheduler == "cosine":
            self.fixed = lr_scheduler.CosineAnnealingLR(optimizer, config.num_epochs)
        elif config.scheduler == "plateau":
            self.plateau = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=config.lr_gamma)

    @property
    def lr(self) -> float:
        """The rate of the coming epoch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def advance(self, test_top1: float) -> None:
        """End an epoch."""
        if self.plateau is not None:
            self.plateau.step(test_top1)
        if self.fixed is not None:
            self.fixed.step()
