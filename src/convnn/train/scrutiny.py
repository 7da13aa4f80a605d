"""What a file says of a run, looked at before anything believes it: whoever wrote it could make its digest fit."""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.train.checkpoint import RunState, describe
from convnn.train.metrics import FEWEST_CLASSES
from convnn.train.optim import make_optimizer
from convnn.train.randomness import random_state
from convnn.words import counted

if TYPE_CHECKING:
    from convnn.data import ImageData
    from convnn.train.config import TrainConfig
    from convnn.train.trainer import Trainer

RESULT: dict[str, Any] = {
    "epoch": 1,
    "seconds": 1.0,
    "images_per_second": 1.0,
    "lr": 1.0,
    "train": [1.0, 1.0, 1.0],
    "test": [1.0, 1.0, 1.0],
    "is_best": True,
    "val": None,
}
POSITION = {"epoch": 1, "step": 0, "seconds": 0.0}

ADVANCING = {
    "last_epoch": 0,
    "_step_count": 0,
    "_is_initial": False,
    "_get_lr_called_within_step": False,
    "_last_lr": [0.0],
    "best": 0.0,
    "cooldown_counter": 0,
    "num_bad_epochs": 0,
}
"""What changes in the state of a scheduler; all else is as its flags made it."""


def check_run(trainer: Trainer, weights: dict[str, Tensor], run: RunState) -> None:
    """Refuse what a run of these flags on these images would never have written.

    Raises:
        InputError: naming the first such thing and its value.
        KeyError: something is missing.
        TypeError: something is of a kind that holds nothing.
    """
    document = run.document
    _check_position(document["position"], document["results"], trainer.num_steps)
    for number, row in enumerate(document["results"], start=1):
        _check_result(row, number, trainer.data)
    _check_optimizer(trainer, weights, run)
    epochs = max(0, len(document["results"]) - trainer.config.warmup_epochs)
    _check_schedule(trainer.schedule.state(), document["schedule"], epochs)
    scaler = trainer.accelerator.scaler
    if scaler is not None and document["scaler"] is not None:
        _require(_is_like(document["scaler"], scaler.state_dict()), "scaler", document["scaler"])
    broken = document["broken_images"]
    _require(isinstance(broken, list) and all(isinstance(one, str) for one in broken), "broken_images", broken)
    _check_scores(run.under("scores")["sums"])
    _check_random(run.under("random"), document["random"])


def _is_like(value: Any, pattern: Any) -> bool:
    """Whether a value has the types of another, and its names and lengths; a whole number may stand for a float."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        return value.keys() == pattern.keys() and all(_is_like(value[key], one) for key, one in pattern.items())
    if isinstance(pattern, list) and isinstance(value, list):
        return len(value) == len(pattern) and all(map(_is_like, value, pattern))
    return type(value) is type(pattern) or (type(pattern) is float and type(value) is int)


def _check_schedule(fresh: dict[str, Any], saved: Any, epochs: int) -> None:
    """Refuse the state of a scheduler that is not of these flags after so many epochs.

    Raises:
        InputError: naming what is wrong.
    """
    needed = {name for name in fresh.keys() & ADVANCING if not name.startswith("_")}
    is_whole = isinstance(saved, dict) and needed <= saved.keys()
    _require(is_whole and saved.get("last_epoch") == (epochs if fresh else None), "schedule", saved)
    for name in fresh.keys() & saved.keys():
        value = saved[name]
        is_right = _is_like(value, ADVANCING[name]) if name in ADVANCING else value == fresh[name]
        _require(is_right and not _is_strange(value), f"schedule.{name}", value)


def _is_strange(value: Any) -> bool:
    """Whether a number is none, or a rate or a count below 0; -inf is the best of no epochs."""
    numbers = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, float)]
    return any(math.isnan(one) or one == math.inf or -math.inf < one < 0 for one in numbers)


def _require(is_right: bool, name: str, value: Any) -> None:
    if not is_right:
        raise InputError(f"{name}={reprlib.repr(value)}")


def _check_position(position: Any, results: Any, steps: int) -> None:
    _require(isinstance(results, list), "results", results)
    _require(_is_like(position, POSITION), "position", position)
    done, whole = counted(len(results), "epoch"), counted(steps, "step")
    _require(position["epoch"] == len(results) + 1, f"after {done} position.epoch", position["epoch"])
    _require(0 <= position["step"] <= steps, f"in an epoch of {whole} position.step", position["step"])
    _require(0 <= position["seconds"] < math.inf, "position.seconds", position["seconds"])


def _check_result(row: Any, number: int, data: ImageData) -> None:
    scores = RESULT["train"] if data.num_classes >= FEWEST_CLASSES else [1.0, 1.0, None]
    wanted = RESULT | {"train": scores, "test": scores}
    if data.val is not None:  # only the best are tested
        is_best = isinstance(row, dict) and row.get("is_best") is True
        wanted |= {"val": scores, "test": scores if is_best else None}
    _require(_is_like(row, wanted) and row["epoch"] == number, f"result {number}", row)
    shares = [share for part in ("train", "val", "test") for share in (row[part] or [])[1:] if share is not None]
    _require(all(0 <= share <= 1 for share in shares), f"result {number} with accuracies", shares)
    _require(0 < row["seconds"] < math.inf, f"result {number} with seconds", row["seconds"])


def _check_optimizer(trainer: Trainer, weights: dict[str, Tensor], run: RunState) -> None:
    tensors, numbers = run.under("optimizer"), run.document["optimizer"]
    _require(numbers["values"] == {}, "optimizer.values", numbers["values"])
    _require(isinstance(numbers["groups"], list) and len(numbers["groups"]) == 1, "optimizer.groups", numbers["groups"])
    lr = numbers["groups"][0]["lr"]
    _require(_is_like(lr, 0.0) and 0 <= lr < math.inf, "optimizer.lr", lr)
    parameters = [name for name, p in trainer.network.named_parameters() if p.requires_grad]
    kept = _kept_by(trainer.config)
    patterns = {f"{name}/{p}": weights[p] if one.dim() else one for name, one in kept.items() for p in parameters}
    for key in sorted(patterns.keys() | tensors.keys()):
        found, wanted = describe(tensors.get(key)), describe(patterns.get(key))
        if found != wanted:
            raise InputError(f"optimizer/{key} is {found} where {wanted} is expected")
        if tensors[key].isnan().any():
            raise InputError(f"optimizer/{key} has NaN")


def _kept_by(config: TrainConfig) -> dict[str, Tensor]:
    """What the optimizer keeps of a weight: numbers, and tensors of its shape."""
    with torch.random.fork_rng(devices=[]):
        probe = nn.Linear(2, 1, bias=False)
    probe.weight.grad = torch.zeros_like(probe.weight)
    optimizer = make_optimizer(probe, config)
    optimizer.step()
    return dict(optimizer.state[probe.weight])


def _check_scores(rows: Tensor) -> None:
    is_table = rows.dim() == 2 and rows.shape[0] > 0 and rows.shape[1] == 4 and rows.is_floating_point()
    if not is_table or not (rows >= 0).all():
        raise InputError(f"scores/sums is {describe(rows)} where rows of four sums are expected")


def _check_random(tensors: dict[str, Tensor], document: Any) -> None:
    usual, numbers = random_state()
    largest = {"python": 2**32 - 1, "numpy": 2**32 - 1, "torch": 2**8 - 1}
    for name, limit in largest.items():
        found, wanted = describe(tensors.get(name)), describe(usual[name])
        if found != wanted or tensors[name].min() < 0 or tensors[name].max() > limit:
            raise InputError(f"random/{name} is {found} where {wanted} from 0 to {limit} is expected")
    (version, gauss), (kind, position, has_gauss, cached) = document["python"], document["numpy"]
    positions = [tensors["python"][-1].item(), position]  # of the 624 words of either generator
    is_right = all(type(one) is int and 0 <= one <= 624 for one in positions) and isinstance(gauss, float | None)
    is_right = is_right and [version, kind] == [numbers["python"][0], numbers["numpy"][0]]
    _require(is_right and has_gauss in (0, 1) and isinstance(cached, float), "random", document)
