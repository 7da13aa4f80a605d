"""Loss, optimizer and learning-rate schedule, as the flags name them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from convnn.data.masks import IGNORED
from convnn.nn import GeneratedConv, PointKernel
from convnn.nn._training import USUAL, Training, trainings
from convnn.train.config import TrainConfig

Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of logits (B, classes) and labels (B,), summed over the batch.

    Of samples with several labels, bool (B, classes), it is the mean over these. Of logits (B, classes, *S) and labels
    (B, *S) it is the mean over the places of each sample that are counted, whose label is not 255.
    """
    if labels.dtype == torch.bool:
        chosen = precise(logits).log_softmax(1).masked_fill(~labels, 0.0)
        return -(chosen.sum(1) / labels.sum(1)).sum()
    if labels.dim() > 1:
        places = F.cross_entropy(precise(logits), labels, ignore_index=IGNORED, reduction="none").flatten(1)
        counted = (labels != IGNORED).flatten(1).sum(1)
        return (places.sum(1) / counted.clamp(min=1)).sum()
    return F.cross_entropy(precise(logits), labels, reduction="sum")


def cross_entropy_and_dice(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return the cross entropy of maps of classes and their Dice loss, summed over the batch.

    .. math:: 1 - \frac{1}{C} \sum_c \frac{2 \sum_i p_{ci} t_{ci} + 1}{\sum_i (p_{ci} + t_{ci}) + 1}

    for each sample, with probabilities p and one-hot labels t over its counted places i, whose label is not 255.

    Args:
        logits: (B, classes, *S).
        labels: (B, *S) int64.

    Reference:
        Isensee et al., arXiv 1809.10486, whose loss is this sum; Milletari et al., arXiv 1606.04797.
    """
    counted = (labels != IGNORED).unsqueeze(1)
    targets = F.one_hot(labels.masked_fill(labels == IGNORED, 0), logits.shape[1]).movedim(-1, 1) * counted
    shares = precise(logits).softmax(1) * counted
    common, total = ((part.flatten(2).sum(2)) for part in (shares * targets, shares + targets))
    dice = ((2 * common + 1) / (total + 1)).mean(1)
    return cross_entropy(logits, labels) + (1 - dice).sum()


def one_hot_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error of logits (B, classes) and one-hot labels (B,): mean over classes, sum over samples.

    Labels of a regression are numbers, (B,) floating-point, and compared with outputs (B, 1) as they are.
    """
    logits = precise(logits)
    is_number = labels.is_floating_point()
    targets = labels[:, None] if is_number else F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.mse_loss(logits, targets, reduction="sum") / logits.shape[1]


def precise(logits: Tensor) -> Tensor:
    """Return the logits in float32 at least: half precision cannot hold a sum over a batch."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


CRITERIA: dict[str, Criterion] = {
    "CrossEntropy": cross_entropy,
    "CrossEntropy+Dice": cross_entropy_and_dice,
    "MSE": one_hot_mse,
}
"""Losses summed over samples, so that processes that share a batch can add them."""


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `--optimizer` names, with a fused update for all parameters that are trained alike."""
    parameters = _groups(network, config)
    lr, weight_decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        fused = not config.fsdp  # torch has no fused SGD for sharded weights
        return torch.optim.SGD(parameters, lr, momentum=config.momentum, weight_decay=weight_decay, fused=fused)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
    return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)


def _groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the parameters of a network, first those without a learning rate or weight decay of their own.

    With `--kernel_decay`, which draws sampled kernels to 0, the weights that they are computed from do not decay.
    """
    modules = network.modules() if config.kernel_decay else ()
    spared = {one for part in modules if isinstance(part, GeneratedConv) for one in part.parameters()}
    rates = {
        None: config.lr,
        "mask": config.mask_lr_ratio * config.lr,
        "radius": config.radius_lr_ratio * config.lr,
        "kernel": config.lr if config.kernel_lr is None else config.kernel_lr,
    }
    alike: dict[Training, list[nn.Parameter]] = {USUAL: []}
    for parameter, training in trainings(network):
        own = replace(training, decays=False) if parameter in spared else training
        alike.setdefault(own, []).append(parameter)
    return [
        {
            "params": found,
            "lr": one.factor * rates[one.rate],
            "weight_decay": config.weight_decay if one.decays else 0.0,
        }
        for one, found in alike.items()
    ]


@torch.no_grad()
def clip_radii(network: nn.Module) -> None:
    """Bring the radii of all points into their range, as the published training does after every step."""
    for module in network.modules():
        if isinstance(module, PointKernel):
            module.clip()


class Schedule:
    """The learning rate over the epochs; call `advance` after each epoch with its validation accuracy.

    The scheduler starts after the warm-up epochs.
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
        """The learning rate of the coming epoch, that of `--lr`, without the warm-up factor."""
        return float(self.optimizer.param_groups[0]["lr"])

    def warmup_factor(self, epochs: float) -> float:
        """Return the factor of the learning rate after a number of epochs, which may be fractional."""
        return min(1.0, epochs / self.warmup_epochs) if self.warmup_epochs else 1.0

    @contextmanager
    def warmup(self, epochs: float) -> Iterator[None]:
        """Apply the warm-up factor within the block, for the step that ends after this number of epochs."""
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * self.warmup_factor(epochs)
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate  # the scheduler and a resumed run continue from it

    def advance(self, epoch: int, test_top1: float) -> None:
        """Update the learning rate after an epoch, counted from 1."""
        if epoch <= self.warmup_epochs:
            return
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(test_top1)
        elif self.scheduler is not None:
            self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Return the state for `load`, as JSON values."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Continue from the state of another schedule."""
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)
