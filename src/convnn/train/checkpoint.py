"""Checkpoints: weights, the recipe that rebuilds their network, and the state from which a run resumes."""

import json
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, is_out_of_memory
from convnn.models import Network
from convnn.nn import list_layers
from convnn.runs.files import BEST, LAST
from convnn.train.recipe import Recipe, check_sizes, parse_recipe
from convnn.train.sealed import read_sealed, write_sealed
from convnn.words import counted

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of a folder on the Hugging Face hub."""

LARGEST_CONFIG = 1 << 22
"""Bytes; a thousand classes take about ten thousand."""


@dataclass(frozen=True)
class RunState:
    """The state that a run needs to resume as if it had never stopped.

    Attributes:
        tensors: tensors of optimizer, generators and scores so far, by names with a slash.
        document: flags, position, results and all other numbers, as JSON values.
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def last_result(self) -> dict[str, Any] | None:
        """The result of the last finished epoch, with the field names of `EpochResult`."""
        results = self.document["results"]
        return results[-1] if results else None

    @property
    def is_epoch_end(self) -> bool:
        """Whether the weights are those of the last result, with no steps after it."""
        return self.last_result is not None and self.document["position"]["step"] == 0

    @property
    def is_best(self) -> bool:
        """Whether this is the end of the best epoch so far."""
        return self.is_epoch_end and self.document["results"][-1]["is_best"]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix` and a slash, by the rest of the name."""
        start = prefix + "/"
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        weights: state dict of the network.
        recipe: how the network was built.
        run: state of the run; None if the file holds weights only.
    """

    weights: dict[str, Tensor]
    recipe: Recipe
    run: RunState | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, old_to: Path | None = None) -> None:
    """Write a checkpoint atomically: the file is complete or absent.

    Raises:
        OutputError: the file cannot be written.
    """
    run = checkpoint.run
    document = {"recipe": asdict(checkpoint.recipe), "run": None if run is None else run.document}
    tensors = checkpoint.weights if run is None else checkpoint.weights | run.tensors
    write_sealed(path, tensors, document, old_to=old_to)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and verify that every byte is as it was written.

    Raises:
        InputError: the file is missing, damaged or not written by this package.
    """
    tensors, document = read_sealed(Path(path))
    recipe = parse_recipe(document.get("recipe"), path)
    run_tensors = {name: tensors.pop(name) for name in list(tensors) if "/" in name}
    run = document.get("run")
    if run is not None and not isinstance(run, dict):
        raise InputError(f"checkpoint '{path}' has a run that cannot be read: {reprlib.repr(run)}")
    return Checkpoint(tensors, recipe, None if run is None else RunState(run_tensors, run))


def read_pretrained(folder: str | Path) -> Checkpoint:
    """Read a folder in the layout of the Hugging Face hub, as `convnn.hub.save_pretrained` writes it.

    The recipe comes from config.json, which people may edit.

    Raises:
        InputError: a file is missing, damaged or not written by this package.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"checkpoint '{folder}' is a folder without {CONFIG}, {BEST} and {LAST}; give a checkpoint, the folder of a"
            " run, or one that convnn export --format hub has written"
        )
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it has {counted(path.stat().st_size, 'byte')}")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"checkpoint '{path}' cannot be read: {error}") from None
    tensors, _ = read_sealed(folder / WEIGHTS)
    return Checkpoint(tensors, parse_recipe(document, path))


def read_any(path: str | Path) -> Checkpoint:
    """Read a checkpoint, the best or else the last of a run's folder, or a folder as on the Hugging Face hub.

    Raises:
        InputError: there is no such file, or it is damaged or not of this package.
    """
    path = Path(path)
    if not path.is_dir():
        return read_checkpoint(path)
    files = [] if (path / CONFIG).is_file() else [path / name for name in (BEST, LAST) if (path / name).is_file()]
    return read_checkpoint(files[0]) if files else read_pretrained(path)


def load(path: str | Path) -> Network:
    """Load a trained network, in evaluation mode on the CPU.

    Args:
        path: a checkpoint; the folder of a run, of which the best epoch is taken, or the last where there is no best
            yet; or a folder as on the Hugging Face hub. `load_checkpoint` returns the recipe too: how images were
            normalised, and the names of the classes.

    Raises:
        InputError: there is no such file, or it is damaged, not of this package, or its weights do not fit its recipe.
    """
    return load_checkpoint(path)[0]


def load_checkpoint(path: str | Path) -> tuple[Network, Recipe]:
    """Load the network of a checkpoint or a folder, as `load` does, and its recipe.

    Raises:
        InputError: as `load`.
    """
    checkpoint = read_any(path)
    check_recipe(checkpoint, path)
    network = _build(checkpoint, path, "cpu")
    network.load_state_dict(checkpoint.weights)
    return network.eval(), checkpoint.recipe


def check_recipe(checkpoint: Checkpoint, path: str | Path) -> None:
    """Check that the recipe builds a network with these weights, before memory is allocated for it.

    Raises:
        InputError: the network cannot be built or has different weights.
    """
    check_weights(_build(checkpoint, path, "meta"), checkpoint.weights, path)


def _build(checkpoint: Checkpoint, path: str | Path, device: str) -> Network:
    """Build the network of an untrusted recipe; on the device "meta" its weights take no memory."""
    recipe = checkpoint.recipe
    if recipe.imports and recipe.layer not in list_layers():
        raise InputError(
            f"checkpoint '{path}' has the layer {reprlib.repr(recipe.layer)} of a module that is not imported, and a"
            f" checkpoint does not run code by itself: add --import={_one_line(recipe.imports)}"
        )
    try:
        check_sizes(checkpoint.recipe, len(checkpoint.weights))
        with torch.device(device):
            return checkpoint.recipe.build()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if device != "meta" and is_out_of_memory(error):
            raise
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"checkpoint '{path}' has a recipe that cannot be built: {reason[0]}") from None


def _one_line(text: str) -> str:
    return f"{' '.join(text.split()):.200}"


def check_weights(network: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Check that the weights are finite and fit the network.

    Raises:
        InputError: a name, shape or type differs, or a weight is not finite; the message names the first.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found, required = describe(weights.get(name)), describe(expected.get(name))
        if found != required:
            raise InputError(f"checkpoint '{path}' is of another model: {name!r} is {found} there and {required} here")
    parameters = {name for name, _ in network.named_parameters()}
    for name, weight in weights.items():
        if weight.isnan().any() or (name in parameters and weight.isinf().any()):
            raise InputError(f"checkpoint '{path}' has weights that are not finite: {name!r}")


def check_classes(recipe: Recipe, classes: tuple[str, ...], where: str) -> None:
    """Check that images have the classes that a network learned.

    Args:
        recipe: recipe of the network.
        classes: classes of the images.
        where: source of the images, for the message.

    Raises:
        InputError: classes differ; the message says which.
    """
    missing = [name for name in recipe.classes if name not in classes]
    added = [name for name in classes if name not in recipe.classes]
    if missing or added:
        lacks = [f"lacks {_first_names(missing)} of the classes that the checkpoint learned"] if missing else []
        has = [f"has {_first_names(added)}, which it did not learn"] if added else []
        raise InputError(f"{where} {' and '.join(lacks + has)}")
    if classes != recipe.classes:
        names = _first_names(classes)
        raise InputError(f"{where} has the classes that the checkpoint learned in another order: {names}")


def check_names(recipe: Recipe, names: tuple[str, ...], where: str) -> None:
    """Check that the numbers in samples stand for what they stood for in training.

    Raises:
        InputError: a name differs; the message has the first.
    """
    for name, learned in zip_longest(names, recipe.names, fillvalue="nothing"):
        if name != learned:
            raise InputError(f"{where} has {name!r} where the checkpoint learned {learned!r}, or in another order")


def _first_names(names: Sequence[str], most: int = 5) -> str:
    """List the first names and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def describe(tensor: Tensor | None) -> str:
    """Return shape and type as text, or "missing"."""
    return "missing" if tensor is None else f"{tuple(tensor.shape)} of {tensor.dtype}"
