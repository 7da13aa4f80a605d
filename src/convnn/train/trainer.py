"""The training loop."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convnn.data import Batch, LabelledData, Loader
from convnn.errors import TrainingError
from convnn.interruption import Interrupted, Interruption
from convnn.models import Network
from convnn.nn._modes import evaluating
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Checkpoint
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Meter, Scores, best_result
from convnn.train.objective import Objective, Outcome, judging
from convnn.train.optim import Schedule, clip_radii, make_optimizer
from convnn.train.overlap import make_meter
from convnn.train.processes import Processes, shard, synchronize_batchnorm
from convnn.train.pruning import prune_kernels
from convnn.train.randomness import seed_step
from convnn.train.running import Position
from convnn.train.state import capture, restore
from convnn.train.stopping import stop_reason
from convnn.train.timer import SaveTimer

if TYPE_CHECKING:
    from accelerate import Accelerator

STEPS_BETWEEN_CHECKS = 50  # reading the loss makes the device wait
SECONDS_BETWEEN_SAVES = 1.0
"""Epochs that end sooner after a checkpoint are not worth one, which would take longer than they do."""


class Trainer:
    """Trains and tests a network, in one process or in several that share every batch.

    Args:
        network: network to train.
        data: training and evaluation data.
        config: flags of the run.
        accelerator: device and precision.
        callbacks: callbacks, called in this order.
        interruption: handler of signals; None installs none.
        objective: what is minimised, around the network; None is the criterion of the flags, or the loss that the
            network has of its own.
    """

    def __init__(
        self,
        network: Network,
        data: LabelledData,
        config: TrainConfig,
        accelerator: "Accelerator",
        callbacks: Sequence[Callback] = (),
        interruption: Interruption | None = None,
        objective: Objective | None = None,
    ) -> None:
        self.network = network
        self.objective = judging(network, config.criterion, data.task) if objective is None else objective
        self.data = data
        self.config = config
        self.accelerator = accelerator
        self.processes = Processes(accelerator)
        self.callbacks = callbacks if accelerator.is_main_process else ()
        self.interruption = interruption or Interruption()
        self.position = Position()
        self.results: list[EpochResult] = []
        self.meter = self._new_meter()
        self.timer = SaveTimer(config.checkpoint_every)
        self.is_saved = True
        compile_network(network, config)
        self.model = distribute(self.objective, config, accelerator)
        optimizer = make_optimizer(self.objective, config)
        self.schedule = Schedule(optimizer, config)
        self.optimizer = accelerator.prepare(optimizer)

    @property
    def broken_images(self) -> set[str]:
        """Messages about the training images that were skipped."""
        return self.data.train.broken

    @property
    def num_steps(self) -> int:
        """Number of steps per epoch: one for every `--accumulate` batches."""
        return -(-len(self.data.train) // self.config.accumulate)

    def stop_reason(self) -> str | None:
        """Return why the run is finished, or None if another epoch follows."""
        return stop_reason([result.validation.merit for result in self.results], self.config)

    def resume(self, checkpoint: Checkpoint, path: Path | str) -> None:
        """Continue from a checkpoint; the outcome equals that of an uninterrupted run to the bit.

        Args:
            checkpoint: checkpoint of a run with the same flags.
            path: path of the checkpoint, for messages.

        Raises:
            InputError: the checkpoint is of another network or other images.
        """
        restore(self, checkpoint, path)

    def fit(self) -> list[EpochResult]:
        """Train until `--num_epochs` are done or `--patience` runs out, and evaluate after each epoch.

        With data in three parts, val decides which epoch is best, and its test scores are reported at the end.

        Raises:
            TrainingError: the loss is not finite, or no image can be read.
            Interrupted: a signal arrived; the step in progress is finished and saved.
        """
        for callback in self.callbacks:
            callback.on_start(self.results)
        try:
            self._fit()
        except Interrupted:
            with self.interruption.held():
                self._save()
            raise
        best = best_result(self.results)
        for callback in self.callbacks:
            if best is not None and best.val is not None:
                callback.on_test(best)
            callback.on_end()
        return self.results

    def evaluate(self, loader: Loader) -> Scores:
        """Compute loss and accuracies over a loader, counting every sample once over all processes."""
        task, figures = self.data.task, self.objective.figures
        meter = make_meter(task, self.data.num_classes, self.accelerator.device, figures=figures)
        return evaluate(self.model, loader, self.accelerator, self._stop_together, meter=meter)

    def _fit(self) -> None:
        if self.processes.count == 1:
            self._run_epochs()
            return
        with self.interruption.held():  # several processes must agree to stop together
            self._run_epochs()

    def _run_epochs(self) -> None:
        with torch.autograd.set_detect_anomaly(self.config.detect_anomaly):
            while self.stop_reason() is None:
                self._train_epoch()
                train = self.processes.sum(self.meter.sums)
                validation = self.evaluate(self.data.validation)
                is_best = all(validation.merit > result.validation.merit for result in self.results)
                # Testing the best epoch so far now saves keeping its weights until the end.
                test = self.evaluate(self.data.test) if is_best and self.data.val is not None else None
                with self.interruption.held():
                    self._end_epoch(train, validation, test, is_best=is_best)

    def _train_epoch(self) -> None:
        """Train the remaining steps of the epoch."""
        position, loader, size = self.position, self.data.train, self.config.accumulate
        self.objective.begin_epoch(position.epoch)
        loader.set_epoch(position.epoch - 1, position.step * size)
        for callback in self.callbacks:
            callback.on_epoch_start(position.epoch, self.num_steps)
        self.model.train()
        start = time.perf_counter() - position.seconds
        batches = iter(loader)  # a name keeps the iterator alive until an interrupted run is saved
        while group := list(islice(batches, size)):  # waiting for batches can be interrupted, their step cannot
            with self.interruption.held():
                self._train_group(group)
                position.seconds = time.perf_counter() - start

    def _train_group(self, batches: Sequence[Batch]) -> None:
        """Make a step, then save and stop if due."""
        position = self.position
        sizes = [len(batch.labels) for batch in batches]
        agreement = self.processes.agree(sizes, self.interruption.number, self.timer.is_due())
        self._step(batches, agreement.num_samples)
        position.step += 1
        self.is_saved = False
        for callback in self.callbacks:
            callback.on_step(position.step)
        if agreement.is_save_due:
            self._save()
        if agreement.signal:
            raise Interrupted(agreement.signal)

    def _step(self, batches: Sequence[Batch], num_samples: Sequence[int]) -> None:
        """Train on this process's parts of batches of `num_samples` over all processes; empty batches are skipped."""
        first = self.position.step * self.config.accumulate
        filled = [number for number, samples in enumerate(num_samples) if samples]
        for number in filled:
            seed_step(self.config.seed, self.position.epoch, first + number)
            with nullcontext() if number == filled[-1] else self.accelerator.no_sync(self.model):
                self._add_gradient(batches[number], sum(num_samples))
        if not filled:
            return
        if self.position.step == 0:
            prune_kernels(self.network, self.config.seed, self.position.epoch)
        if self.config.clip_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_grad_norm)
        with self.schedule.warmup(self.position.epoch - 1 + (self.position.step + 1) / self.num_steps):
            self.optimizer.step()
        clip_radii(self.network)
        self.optimizer.zero_grad()

    def _add_gradient(self, batch: Batch, num_samples: int) -> None:
        """Add the gradient of this process's part of a step of `num_samples` samples."""
        outcome = self._outcome(batch)
        if self._is_check_due():
            self._check_finite(outcome.loss, batch)
        # Gradients are averaged over the processes, but their parts may differ in size.
        self._backward(outcome.loss * (self.processes.count / num_samples))
        self.meter.update(outcome.loss, outcome.logits, batch.labels, outcome.terms)

    def _outcome(self, batch: Batch) -> Outcome:
        try:
            with self.accelerator.autocast():
                outcome: Outcome = self.model(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):  # message of batch normalisation
                raise
            raise TrainingError(
                f"batch normalisation cannot train on the single sample of epoch {self.position.epoch}, step"
                f" {self.position.step + 1}, where maps are 1x1; raise --batch_size ({self.config.batch_size});"
                f" {self._last_good()}"
            ) from None
        return outcome

    def _new_meter(self) -> Meter:
        device, terms = self.accelerator.device, self.objective.terms
        return make_meter(self.data.task, self.data.num_classes, device, terms, measures=False)

    def _backward(self, loss: Tensor) -> None:
        try:
            self.accelerator.backward(loss)
        except RuntimeError as error:
            if "returned nan values" not in str(error):  # message of --detect_anomaly
                raise
            raise TrainingError(
                f"{str(error).rstrip('.')} in the backward pass of epoch {self.position.epoch}, step"
                f" {self.position.step + 1}; {self._last_good()}"
            ) from None

    def _end_epoch(self, sums: Tensor, validation: Scores, test: Scores | None, *, is_best: bool) -> None:
        """Record the results of an epoch: the sums of the meter, and scores.

        `test` is None if `validation` is the test part or it was not tested.
        """
        epoch, seconds = self.position.epoch, self.position.seconds
        lr = self.schedule.lr * self.schedule.warmup_factor(epoch)
        speed = self.data.train.num_samples / seconds
        val, test = (None, validation) if self.data.val is None else (validation, test)
        train, terms = self.meter.scores(sums, self.data.num_classes), self.meter.terms_of(sums)
        result = EpochResult(epoch, seconds, speed, lr, train, test, is_best, val, terms)
        self.results.append(result)
        self.schedule.advance(epoch, validation.merit)
        self.position = Position(epoch + 1)
        self.meter = self._new_meter()
        self.is_saved = False
        broken = sorted(self.processes.gather_text({line for part in self.data.parts.values() for line in part.broken}))
        if self._is_worth_saving(is_best=is_best):
            self._save()  # first, so that the tables are never ahead of the checkpoint
        else:
            self._check_weights()
        for callback in self.callbacks:
            callback.on_epoch_end(result)
            if broken:
                callback.on_broken_images(broken)

    def _is_worth_saving(self, *, is_best: bool) -> bool:
        """Return whether to save after an epoch; several processes always do, because their clocks differ."""
        is_recent = self.processes.count == 1 and self.timer.seconds_since < SECONDS_BETWEEN_SAVES
        return is_best or not is_recent or self.stop_reason() is not None

    def _save(self) -> None:
        """Pass a checkpoint to the callbacks, unless nothing has changed since the last one."""
        if self.is_saved:
            return
        self._check_weights()
        weights, run = capture(self)
        for callback in self.callbacks:
            callback.on_checkpoint(weights, run)
        self.is_saved = True
        self.timer.restart()

    def _stop_together(self) -> None:
        """Stop several processes between two batches of an evaluation; a single process stops at any moment."""
        if self.processes.count > 1 and (signal := self.processes.agree(signal=self.interruption.number).signal):
            raise Interrupted(signal)

    def _is_check_due(self) -> bool:
        return self.accelerator.device.type == "cpu" or self.position.step % STEPS_BETWEEN_CHECKS == 0

    def _check_finite(self, loss: Tensor, batch: Batch) -> None:
        value = loss.item()
        if not math.isfinite(value):
            samples = ", ".join(map(str, batch.indices.tolist()))
            raise TrainingError(
                f"the loss is {value} in epoch {self.position.epoch}, step {self.position.step + 1}; lower --lr"
                f" ({self.config.lr}) or --clip_grad_norm, or look for broken images among the samples {samples};"
                f" {self._last_good()}"
            )

    def _check_weights(self) -> None:
        if not all(p.detach().isfinite().all() for p in self.network.parameters()):
            raise TrainingError(
                f"some weights are no longer finite after epoch {self.position.epoch}, step {self.position.step};"
                f" lower --lr ({self.config.lr}) or --clip_grad_norm, or try --detect_anomaly; {self._last_good()}"
            )

    def _last_good(self) -> str:
        paths = [callback.last_good for callback in self.callbacks if callback.last_good is not None]
        return f"the last good checkpoint is {paths[0]}" if paths else "no checkpoint was written yet"


def evaluate(
    model: nn.Module,
    loader: Loader,
    accelerator: "Accelerator",
    after_batch: Callable[[], None] = lambda: None,
    *,
    meter: Meter | None = None,
) -> Scores:
    """Compute loss and accuracies over a loader, counting every sample once over all processes.

    Args:
        model: an `Objective`, which has the network and the criterion, prepared by the accelerator.
        loader: the samples.
        accelerator: device and precision.
        after_batch: called after each batch.
        meter: counts the samples, by the measures of their task, and by terms of the loss as further measures; None has
            the figures of a network without labels alone.

    Raises:
        TrainingError: no image could be read.
    """
    if meter is None:
        meter = Meter(accelerator.device, figures=getattr(model, "figures", ()))
    batches = iter(loader)  # a name keeps the iterator alive, as in training
    with torch.no_grad(), evaluating(model):
        for batch in batches:
            with accelerator.autocast():
                outcome: Outcome = model(batch)
            meter.update(outcome.loss, outcome.logits, batch.labels, outcome.terms, outcome.figures)
            after_batch()
    sums = accelerator.reduce(meter.sums, reduction="sum")
    scores = meter.scores(sums, meter.num_classes)
    return scores._replace(measures={**scores.measures, **meter.terms_of(sums)})


def compile_network(network: Network, config: TrainConfig) -> None:
    """Compile the network in place if `--use_compiled` is set."""
    if config.use_compiled:
        if config.compile_mode == "reduce-memory":
            torch._functorch.config.activation_memory_budget = 0.5
        network.compile(mode="default" if config.compile_mode == "reduce-memory" else config.compile_mode)


def distribute(objective: Objective, config: TrainConfig, accelerator: "Accelerator") -> nn.Module:
    """The objective as this process trains it: as it is, or sharing gradients (DDP) or weights too (`--fsdp`)."""
    if accelerator.num_processes > 1 and config.sync_batchnorm:
        synchronize_batchnorm(objective)
    if accelerator.num_processes > 1 and config.fsdp:
        shard(objective.network, accelerator)
        return objective
    model: nn.Module = accelerator.prepare(objective)
    return model
