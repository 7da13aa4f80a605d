"""The training loop."""

import math
import time
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from convnn.data import Batch, ImageData, Loader
from convnn.errors import TrainingError
from convnn.models import Network
from convnn.train.callbacks import Callback
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Meter, Scores
from convnn.train.optim import CRITERIA, Schedule, make_optimizer

STEPS_BETWEEN_CHECKS = 50  # looking at the loss makes the device wait


class Trainer:
    """Trains and tests a network.

    Args:
        network: what learns.
        data: what it learns.
        config: how.
        accelerator: where, and in which precision.
        callbacks: who looks on, in this order.
    """

    def __init__(
        self,
        network: Network,
        data: ImageData,
        config: TrainConfig,
        accelerator: Accelerator,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.data = data
        self.config = config
        self.accelerator = accelerator
        self.callbacks = callbacks
        self.criterion = CRITERIA[config.criterion]
        optimizer = make_optimizer(network, config)
        self.schedule = Schedule(optimizer, config)
        self.model: nn.Module
        self.model, self.optimizer = accelerator.prepare(compiled(network, config), optimizer)

    def fit(self) -> list[EpochResult]:
        """Train for `--num_epochs`, testing after each.

        Raises:
            TrainingError: the loss is not finite.
        """
        results: list[EpochResult] = []
        for epoch in range(1, self.config.num_epochs + 1):
            lr = self.schedule.lr
            start = time.perf_counter()
            train = self._train_epoch(epoch)
            seconds = time.perf_counter() - start
            test = self.evaluate(self.data.test)
            is_best = all(test.top1 > result.test.top1 for result in results)
            speed = self.data.train.num_samples / seconds
            results.append(EpochResult(epoch, seconds, speed, lr, train, test, is_best))
            self.schedule.advance(test.top1)
            for callback in self.callbacks:
                callback.on_epoch_end(results[-1])
        for callback in self.callbacks:
            callback.on_end()
        return results

    def evaluate(self, loader: Loader) -> Scores:
        """Loss and accuracies over a loader."""
        return evaluate(self.model, loader, self.config.criterion, self.data.num_classes, self.accelerator)

    def _train_epoch(self, epoch: int) -> Scores:
        loader = self.data.train
        loader.set_epoch(epoch - 1)
        for callback in self.callbacks:
            callback.on_epoch_start(epoch, len(loader))
        self.model.train()
        meter = Meter(self.data.num_classes, self.accelerator.device)
        for step, batch in enumerate(loader, start=1):
            loss, logits = self._step(batch)
            if self._is_check_due(step, len(loader)):
                self._check_finite(loss, epoch, step)
            meter.update(loss, logits, batch.labels)
            for callback in self.callbacks:
                callback.on_step(step)
        return meter.compute()

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.accelerator.autocast():
            logits = self.model(batch.images)
            loss = self.criterion(logits, batch.labels)
        self.accelerator.backward(loss)
        if self.config.clip_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, logits

    def _is_check_due(self, step: int, steps: int) -> bool:
        on_cpu = self.accelerator.device.type == "cpu"
        return on_cpu or step % STEPS_BETWEEN_CHECKS == 0 or step == steps

    def _check_finite(self, loss: Tensor, epoch: int, step: int) -> None:
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {epoch}, step {step}; lower --lr ({self.config.lr})"
                " or --clip_grad_norm, or look for broken images; the files of earlier epochs are whole"
            )


def evaluate(model: nn.Module, loader: Loader, criterion: str, num_classes: int, accelerator: Accelerator) -> Scores:
    """Loss and accuracies of a model over a loader, every sample counted once."""
    was_training = model.training
    model.eval()
    meter = Meter(num_classes, accelerator.device)
    with torch.no_grad():
        for batch in loader:
            with accelerator.autocast():
                logits = model(batch.images)
                loss = CRITERIA[criterion](logits, batch.labels)
            meter.update(loss, logits, batch.labels)
    model.train(was_training)
    return meter.compute()


def compiled(network: Network, config: TrainConfig) -> Network:
    """The network, compiled in place if `--use_compiled` says so."""
    if config.use_compiled:
        if config.compile_mode == "reduce-memory":
            torch._functorch.config.activation_memory_budget = 0.5
        network.compile(mode="default" if config.compile_mode == "reduce-memory" else config.compile_mode)
    return network
