"""The state of a run: captured from one trainer and restored in another, which continues as if it were the same."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError, is_out_of_memory
from convnn.train.checkpoint import Checkpoint, RunState, check_classes, check_names, check_weights
from convnn.train.machine import describe_machine
from convnn.train.metrics import EpochResult, Scores
from convnn.train.objective import OF_NETWORK
from convnn.train.randomness import random_state, set_random_state
from convnn.train.recipe import Recipe
from convnn.train.running import Running
from convnn.train.validate import check_run


def capture(running: Running) -> tuple[dict[str, Any], RunState]:
    """Capture weights and run state after a step; every process must call it, and the main process gets the tensors."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict  # takes a second to import

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found, optimizer = get_state_dict(running.model, running.optimizer.optimizer, options=options)
    state: dict[str, Any] = dict(found)
    optimizer_tensors, optimizer_numbers = _split(optimizer)
    random_tensors, random_numbers = random_state()
    groups: dict[str, dict[str, Tensor]] = {
        "objective": {name: t for name, t in state.items() if not name.startswith(OF_NETWORK)},
        "optimizer": optimizer_tensors,
        "random": random_tensors,
        "scores": {"sums": running.processes.rows(running.meter.sums)},
    }
    tensors = {f"{group}/{name}": t for group, members in groups.items() for name, t in members.items()}
    scaler = running.accelerator.scaler
    document = {
        "config": asdict(running.config),
        "machine": describe_machine(),
        "position": asdict(running.position),
        "results": [asdict(result) for result in running.results],
        "optimizer": optimizer_numbers,
        "schedule": running.schedule.state(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": random_numbers,
        "num_samples": running.data.train.num_samples,
        "parts": list(running.data.parts),
        "broken_images": sorted(running.processes.gather_text(running.broken_images)),
    }
    weights = {name.removeprefix(OF_NETWORK): t for name, t in state.items() if name.startswith(OF_NETWORK)}
    return weights, RunState(tensors, document)


def restore(running: Running, checkpoint: Checkpoint, path: Path | str) -> None:
    """Continue a fresh run from a checkpoint.

    Args:
        running: a run with the same flags that has not started.
        checkpoint: checkpoint with a run state.
        path: path of the checkpoint, for messages.

    Raises:
        InputError: the checkpoint is of another network or other images, or its state is invalid.
    """
    run = checkpoint.run
    if run is None:
        raise InputError(f"checkpoint '{path}' holds weights only; resume from last.safetensors")
    check_weights(running.network, checkpoint.weights, path)
    _check_images(running, checkpoint.recipe, run, path)
    try:
        model_state = {OF_NETWORK + name: t for name, t in checkpoint.weights.items()} | run.group("objective")
        check_run(running, model_state, run)
        _restore_optimizer(running, model_state, run)
        _restore_numbers(running, run)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = error if isinstance(error, InputError) else repr(error)
        raise InputError(f"checkpoint '{path}' holds a run that cannot be resumed: {reason!s:.200}") from None


def _restore_optimizer(running: Running, model_state: dict[str, Any], run: RunState) -> None:
    """Restore the state of the model and the optimizer, and learning rates; other numbers come from the flags."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_state_dict

    optimizer, options = running.optimizer.optimizer, StateDictOptions(full_state_dict=True)
    names = {parameter: name for name, parameter in running.objective.named_parameters()}
    rates = [saved["lr"] for saved in run.document["optimizer"]["groups"]]
    groups = [
        group | {"params": [names[p] for p in group["params"] if p.requires_grad], "lr": rate}
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
    ]
    state = _join(run.group("optimizer"), groups)
    if state["state"]:
        set_state_dict(running.model, optimizer, model_state_dict=model_state, optim_state_dict=state, options=options)
    else:  # SGD without momentum
        set_model_state_dict(running.model, model_state, options=options)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _restore_numbers(running: Running, run: RunState) -> None:
    document = run.document
    schedule = running.schedule.state()
    running.schedule.load(schedule | {name: value for name, value in document["schedule"].items() if name in schedule})
    if running.accelerator.scaler is not None and document["scaler"] is not None:
        running.accelerator.scaler.load_state_dict(document["scaler"])
    running.position = type(running.position)(**document["position"])
    running.results = [_result(row) for row in document["results"]]
    running.meter.sums.copy_(_own_row(run.group("scores")["sums"], running))
    running.broken_images.update(document["broken_images"])
    set_random_state(run.group("random"), document["random"])


def _own_row(rows: Tensor, running: Running) -> Tensor:
    """Return the counts of this process; if the number of processes has changed, the first one takes all counts."""
    if len(rows) == running.processes.count:
        return rows[running.processes.index]
    return rows.sum(0) if running.processes.index == 0 else torch.zeros_like(rows[0])


def _result(row: dict[str, Any]) -> EpochResult:
    parts = ("train", "val", "test")
    return EpochResult(**(row | {part: None if row[part] is None else Scores(*row[part]) for part in parts}))


def _check_images(running: Running, recipe: Recipe, run: RunState, path: Path | str) -> None:
    before, now = run.document.get("num_samples"), running.data.train.num_samples
    if before != now:
        raise InputError(
            f"checkpoint '{path}' is of a run with {before} training {running.data.kind}s; --data_path has {now}"
        )
    old_parts, parts = run.document.get("parts"), list(running.data.parts)
    if old_parts != parts:
        raise InputError(f"checkpoint '{path}' is of a run with the parts {old_parts!r:.60}; --data_path has {parts}")
    where = f"--data_path={running.config.data_path}"
    check_classes(recipe, running.data.classes, where)
    check_names(recipe, running.data.names, where)


def _split(optimizer: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors by name and its other numbers."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.get("state", {}).items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{parameter}"] = value
            else:
                values.setdefault(parameter, {})[name] = value
    return tensors, {"values": values, "groups": optimizer.get("param_groups", [])}


def _join(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Reverse `_split`, for an optimizer whose state is tensors only."""
    state: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        name, parameter = key.split("/")
        state.setdefault(parameter, {})[name] = value
    return {"state": state, "param_groups": groups}
