"""Validation of the run state in a checkpoint: anyone can write a file whose digest fits."""

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnn.data import LabelledData
from convnn.errors import InputError
from convnn.figures import figure_of
from convnn.train.checkpoint import RunState, describe
from convnn.train.config import TrainConfig
from convnn.train.measures import MEASURES
from convnn.train.metrics import FEWEST_CLASSES, NUM_SUMS, Scores
from convnn.train.optim import make_optimizer
from convnn.train.randomness import random_state
from convnn.train.running import Running
from convnn.words import counted

RESULT: dict[str, Any] = {
    "epoch": 1,
    "seconds": 1.0,
    "images_per_second": 1.0,
    "lr": 1.0,
    "train": [1.0, 1.0, 1.0, {}],
    "test": [1.0, 1.0, 1.0, {}],
    "is_best": True,
    "val": None,
    "terms": {},
}
POSITION = {"epoch": 1, "step": 0, "seconds": 0.0}

ADVANCING = {
    *("last_epoch", "_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr"),
    *("best", "cooldown_counter", "num_bad_epochs"),
}
"""The values of a scheduler's state that change during a run; all others follow from the flags."""


def check_run(running: Running, model_state: dict[str, Tensor], run: RunState) -> None:
    """Refuse a state that a run with these flags on these images would never have written.

    Args:
        running: a run with the same flags that has not started.
        model_state: tensors of the network, which are checked already, and of the objective around it.
        run: the state.

    Raises:
        InputError: a value is wrong; the message names the first one.
        KeyError: a value is missing.
        TypeError: a value that should be a container is not one.
    """
    document = run.document
    _check_position(document["position"], document["results"], running.num_steps)
    for number, row in enumerate(document["results"], start=1):
        _check_result(row, number, running.data, running.objective.terms, running.objective.figures)
    _check_objective(running, run)
    _check_optimizer(running, model_state, run)
    epochs = max(0, len(document["results"]) - running.config.warmup_epochs)
    _check_schedule(running.schedule.state(), document["schedule"], epochs)
    scaler = running.accelerator.scaler
    if scaler is not None and document["scaler"] is not None:
        _require(_is_like(document["scaler"], scaler.state_dict()), "scaler", document["scaler"])
    broken = document["broken_images"]
    _require(isinstance(broken, list) and all(isinstance(line, str) for line in broken), "broken_images", broken)
    has_labels = running.data.task != "modelling"
    _check_scores(run.group("scores")["sums"], NUM_SUMS + len(running.objective.terms), is_positive=has_labels)
    _check_random(run.group("random"), document["random"])


def _is_like(value: Any, pattern: Any) -> bool:
    """Return whether a value has the types, names and lengths of a pattern; an integer may stand for a float."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        return value.keys() == pattern.keys() and all(_is_like(value[key], item) for key, item in pattern.items())
    if isinstance(pattern, list) and isinstance(value, list):
        return len(value) == len(pattern) and all(map(_is_like, value, pattern))
    return type(value) is type(pattern) or (type(pattern) is float and type(value) is int)


def _check_schedule(fresh: dict[str, Any], saved: Any, epochs: int) -> None:
    """Refuse a scheduler state that does not belong to these flags after this number of epochs.

    Raises:
        InputError: a value is wrong; the message names it.
    """
    required = {name for name in fresh.keys() & ADVANCING if not name.startswith("_")}
    is_complete = isinstance(saved, dict) and required <= saved.keys()
    _require(is_complete and saved.get("last_epoch") == (epochs if fresh else None), "schedule", saved)
    for name in fresh.keys() & saved.keys():
        value = saved[name]
        is_valid = _is_like(value, fresh[name]) if name in ADVANCING else value == fresh[name]
        _require(is_valid and not _is_out_of_range(value), f"schedule.{name}", value)


def _is_out_of_range(value: Any) -> bool:
    """Return whether a float is NaN, infinite or negative; -inf is allowed as the best accuracy before any epoch."""
    numbers = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, float)]
    return any(math.isnan(number) or number == math.inf or -math.inf < number < 0 for number in numbers)


def _require(is_valid: bool, name: str, value: Any) -> None:
    if not is_valid:
        raise InputError(f"{name}={reprlib.repr(value)}")


def _check_position(position: Any, results: Any, steps: int) -> None:
    _require(isinstance(results, list), "results", results)
    _require(_is_like(position, POSITION), "position", position)
    done, total = counted(len(results), "epoch"), counted(steps, "step")
    _require(position["epoch"] == len(results) + 1, f"after {done} position.epoch", position["epoch"])
    _require(0 <= position["step"] <= steps, f"in an epoch of {total} position.step", position["step"])
    _require(0 <= position["seconds"] < math.inf, "position.seconds", position["seconds"])


def _check_result(row: Any, number: int, data: LabelledData, terms: Sequence[str], figures: Sequence[str] = ()) -> None:
    train: list[Any] = [1.0, 1.0 if data.num_classes else None, 1.0 if data.num_classes >= FEWEST_CLASSES else None, {}]
    scores = [*train[:3], dict.fromkeys((*MEASURES[data.task], *figures), 1.0)]
    pattern = RESULT | {"train": train, "test": scores, "terms": dict.fromkeys(terms, 1.0)}
    if data.val is not None:  # only the best epochs are tested
        is_best = isinstance(row, dict) and row.get("is_best") is True
        pattern |= {"val": scores, "test": scores if is_best else None}
    _require(_is_like(row, pattern) and row["epoch"] == number, f"result {number}", row)
    found = [Scores(*row[part]) for part in ("train", "val", "test") if row[part]]
    shares = [share for scores in found for name, share in scores.named.items() if figure_of(name).is_share]
    _require(all(0 <= share <= 1 for share in shares), f"result {number} with accuracies", shares)
    _require(0 < row["seconds"] < math.inf, f"result {number} with seconds", row["seconds"])


def _check_objective(running: Running, run: RunState) -> None:
    """Refuse tensors of the objective with other names, shapes or types, or that are not finite."""
    saved, expected = run.group("objective"), running.objective.additions
    for name in sorted(saved.keys() | expected.keys()):
        found, required = describe(saved.get(name)), describe(expected.get(name))
        if found != required:
            raise InputError(f"objective/{name} is {found} where {required} is expected")
        if not saved[name].isfinite().all():
            raise InputError(f"objective/{name} has values that are not finite")


def _check_optimizer(running: Running, model_state: dict[str, Tensor], run: RunState) -> None:
    tensors, numbers = run.group("optimizer"), run.document["optimizer"]
    _require(numbers["values"] == {}, "optimizer.values", numbers["values"])
    groups, count = numbers["groups"], len(running.optimizer.param_groups)
    _require(isinstance(groups, list) and len(groups) == count, "optimizer.groups", groups)
    for group in groups:
        lr = group["lr"]
        _require(_is_like(lr, 0.0) and 0 <= lr < math.inf, "optimizer.lr", lr)
    parameters = [name for name, p in running.objective.named_parameters() if p.requires_grad]
    state = _optimizer_state(running.config)
    patterns = {f"{name}/{p}": model_state[p] if t.dim() else t for name, t in state.items() for p in parameters}
    for key in sorted(patterns.keys() | tensors.keys()):
        found, expected = describe(tensors.get(key)), describe(patterns.get(key))
        if found != expected:
            raise InputError(f"optimizer/{key} is {found} where {expected} is expected")
        if tensors[key].isnan().any():
            raise InputError(f"optimizer/{key} has NaN")


def _optimizer_state(config: TrainConfig) -> dict[str, Tensor]:
    """Return the optimizer state of a sample weight: scalars, and tensors of its shape."""
    with torch.random.fork_rng(devices=[]):
        probe = nn.Linear(2, 1, bias=False)
    probe.weight.grad = torch.zeros_like(probe.weight)
    optimizer = make_optimizer(probe, config)
    optimizer.step()
    return dict(optimizer.state[probe.weight])


def _check_scores(rows: Tensor, width: int, *, is_positive: bool) -> None:
    """Refuse sums of another width, or counts below 0; where `is_positive`, losses below 0 too."""
    is_table = rows.dim() == 2 and rows.shape[0] > 0 and rows.shape[1] == width and rows.is_floating_point()
    if not is_table or not (rows[:, not is_positive : NUM_SUMS] >= 0).all():
        raise InputError(f"scores/sums is {describe(rows)} where rows of {width} sums are expected")


def _check_random(tensors: dict[str, Tensor], document: Any) -> None:
    current, numbers = random_state()
    largest = {"python": 2**32 - 1, "numpy": 2**32 - 1, "torch": 2**8 - 1}
    for name, limit in largest.items():
        found, expected = describe(tensors.get(name)), describe(current[name])
        if found != expected or tensors[name].min() < 0 or tensors[name].max() > limit:
            raise InputError(f"random/{name} is {found} where {expected} from 0 to {limit} is expected")
    (version, gauss), (kind, position, has_gauss, cached) = document["python"], document["numpy"]
    positions = [tensors["python"][-1].item(), position]  # both generators have 624 words
    is_valid = all(type(place) is int and 0 <= place <= 624 for place in positions) and isinstance(gauss, float | None)
    is_valid = is_valid and [version, kind] == [numbers["python"][0], numbers["numpy"][0]]
    _require(is_valid and has_gauss in (0, 1) and isinstance(cached, float), "random", document)
