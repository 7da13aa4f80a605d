"""Checkpoints: weights with what is needed to build their network again, and with the rest of a run to go on."""

import json
import math
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convnn.data import FITS
from convnn.errors import InputError, is_out_of_memory
from convnn.models import Network, create_model
from convnn.nn import list_layers
from convnn.runs.files import BEST, LAST
from convnn.train.sealed import read_sealed, write_sealed
from convnn.words import counted

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of a folder on the Hugging Face hub."""

LARGEST_CONFIG = 1 << 22
"""Bytes; a thousand classes take some ten thousand."""

LARGEST_SIDE = 1 << 14
"""Pixels; a recipe that asks for more is not believed."""

LARGEST_NUMBER = 2**32
"""No setting is as large, and no flag; seeds come near."""

LARGEST_DEPTH = 100
"""Blocks; a recipe that asks for more must come with as many weights."""

WIDEST_PADDING = 32
"""Pixels; a recipe that asks for more must have images as large."""


@dataclass(frozen=True)
class Recipe:
    """How a network was built and what its images were.

    Attributes:
        model, layer, width, settings: arguments of `convnn.models.create_model`.
        dataset: what it learned.
        data_path: the folder where that was, absolute; empty where it is not known.
        image_shape: (C, H, W) of its images.
        mean, std: by which they were normalised, per channel.
        classes: names in the order of the logits.
        fit: how pictures of other shapes came to that size, one of `convnn.data.FITS`.
        epoch: epochs trained.
        test_top1: accuracy then, 0 to 1; None where it was not measured.
        imports: modules that register its layer, separated by commas.
    """

    model: str
    layer: str
    width: float
    settings: dict[str, Any]
    dataset: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    fit: str = "crop"
    epoch: int = 0
    test_top1: float | None = 0.0
    imports: str = ""
    data_path: str = ""

    def build(self) -> Network:
        """The network with fresh weights.

        Raises:
            InputError: a setting is unknown or out of range.
        """
        return create_model(
            self.model,
            self.layer,
            in_channels=self.image_shape[0],
            num_classes=len(self.classes),
            width=self.width,
            **self.settings,
        )


@dataclass(frozen=True)
class RunState:
    """All that a run needs to go on as if nothing had happened.

    Attributes:
        tensors: of optimizer, generators and scores so far, by a name with a slash.
        document: flags, position, results and all other numbers, as JSON can hold them.
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def last_result(self) -> dict[str, Any] | None:
        """That of the last epoch that is done, by the names of `EpochResult`."""
        results = self.document["results"]
        return results[-1] if results else None

    @property
    def is_epoch_end(self) -> bool:
        """Whether the weights are those that the last result was measured with."""
        return self.last_result is not None and self.document["position"]["step"] == 0

    @property
    def is_best(self) -> bool:
        """Whether this is the end of an epoch, the best so far."""
        return self.is_epoch_end and self.document["results"][-1]["is_best"]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins with `prefix` and a slash, without it."""
        start = prefix + "/"
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        weights: of the network, by the names of its state dict.
        recipe: how it was built.
        run: the rest of the run; None where a file has the weights only.
    """

    weights: dict[str, Tensor]
    recipe: Recipe
    run: RunState | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, old_to: Path | None = None) -> None:
    """Write a checkpoint; the file is whole or not there.

    Raises:
        OutputError: the file cannot be written.
    """
    run = checkpoint.run
    document = {"recipe": asdict(checkpoint.recipe), "run": None if run is None else run.document}
    tensors = checkpoint.weights if run is None else checkpoint.weights | run.tensors
    write_sealed(path, tensors, document, old_to=old_to)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint whose every byte is as it was written.

    Raises:
        InputError: the file is missing, damaged or not of this package.
    """
    tensors, document = read_sealed(Path(path))
    recipe = _recipe(document.get("recipe"), path)
    of_run = {name: tensors.pop(name) for name in list(tensors) if "/" in name}
    run = document.get("run")
    if run is not None and not isinstance(run, dict):
        raise InputError(f"checkpoint '{path}' has a run that cannot be read: {reprlib.repr(run)}")
    return Checkpoint(tensors, recipe, None if run is None else RunState(of_run, run))


def read_pretrained(folder: str | Path) -> Checkpoint:
    """Read a folder in the layout of the Hugging Face hub, as `convnn.hub.save_pretrained` leaves it.

    The recipe is that of config.json, which people may edit.

    Raises:
        InputError: a file is missing, damaged or not of this package.
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
    return Checkpoint(tensors, _recipe(document, path))


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
    """Refuse a recipe that does not make a network of these weights, before it takes memory.

    Raises:
        InputError: it cannot be built, or its weights are others.
    """
    check_weights(_build(checkpoint, path, "meta"), checkpoint.weights, path)


def _build(checkpoint: Checkpoint, path: str | Path, device: str) -> Network:
    """The network of a recipe that may say anything; on "meta" its weights have no size."""
    recipe = checkpoint.recipe
    if recipe.imports and recipe.layer not in list_layers():
        raise InputError(
            f"checkpoint '{path}' has the layer {reprlib.repr(recipe.layer)} of a module that is not imported, and a"
            f" checkpoint does not run code by itself: add --import={_one_line(recipe.imports)}"
        )
    try:
        _check_sizes(checkpoint.recipe, len(checkpoint.weights))
        with torch.device(device):
            return checkpoint.recipe.build()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if device != "meta" and is_out_of_memory(error):
            raise
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"checkpoint '{path}' has a recipe that cannot be built: {reason[0]}") from None


def _one_line(text: str) -> str:
    return f"{' '.join(text.split()):.200}"


def check_weights(network: Network, weights: dict[str, Tensor], path: str | Path) -> None:
    """Refuse weights that are not those of this network.

    Raises:
        InputError: a name, a shape or a type differs, naming the first.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        theirs, ours = describe(weights.get(name)), describe(expected.get(name))
        if theirs != ours:
            raise InputError(f"checkpoint '{path}' is of another model: {name!r} is {theirs} there and {ours} here")
    learned = {name for name, _ in network.named_parameters()}
    for name, weight in weights.items():
        if weight.isnan().any() or (name in learned and weight.isinf().any()):
            raise InputError(f"checkpoint '{path}' has weights that are not finite: {name!r}")


def check_classes(recipe: Recipe, classes: tuple[str, ...], where: str) -> None:
    """Refuse images of other classes than those that were learned.

    Args:
        recipe: of what learned.
        classes: of the images.
        where: they are, as the message says.

    Raises:
        InputError: saying which differ.
    """
    missing = [name for name in recipe.classes if name not in classes]
    added = [name for name in classes if name not in recipe.classes]
    if missing or added:
        lacks = [f"lacks {_some(missing)} of the classes that the checkpoint learned"] if missing else []
        has = [f"has {_some(added)}, which it did not learn"] if added else []
        raise InputError(f"{where} {' and '.join(lacks + has)}")
    if classes != recipe.classes:
        raise InputError(f"{where} has the classes that the checkpoint learned in another order: {_some(classes)}")


def _some(names: Sequence[str], most: int = 5) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _check_sizes(recipe: Recipe, num_weights: int) -> None:
    """What no weight bears out: blocks without end, a border that takes more memory than the image."""
    for name, value in recipe.settings.items():
        if isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER:
            raise InputError(f"{name}={reprlib.repr(value)}")
    depth, padding = recipe.settings.get("num_layers", 0), recipe.settings.get("padding", 0)
    if isinstance(depth, int) and depth > max(num_weights, LARGEST_DEPTH):
        raise InputError(f"num_layers={depth} for {counted(num_weights, 'weight')}")
    if isinstance(padding, int) and padding > max(*recipe.image_shape[1:], WIDEST_PADDING):
        raise InputError(f"padding={padding} for images of shape {recipe.image_shape}")


def describe(tensor: Tensor | None) -> str:
    """Shape and type, or that there is none."""
    return "missing" if tensor is None else f"{tuple(tensor.shape)} of {tensor.dtype}"


def _recipe(document: Any, path: str | Path) -> Recipe:
    """A recipe from what a file says, which may be anything."""
    try:
        sequences = {name: tuple(document[name]) for name in ("image_shape", "mean", "std", "classes")}
        recipe = Recipe(**(document | sequences))
        for f in fields(Recipe):
            _check_type(f.name, getattr(recipe, f.name))
        if not len(recipe.mean) == len(recipe.std) == recipe.image_shape[0]:
            raise ValueError(f"mean={recipe.mean} and std={recipe.std} of images of shape {recipe.image_shape}")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"checkpoint '{path}' has a recipe that cannot be read: {error}") from None
    return recipe


def _check_type(name: str, value: Any) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "settings": dict,
        "epoch": int,
        "test_top1": (float, type(None)),
        "width": (int, float),
    }
    items: dict[str, type] = {"image_shape": int, "mean": float, "std": float, "classes": str}
    if name in items:
        is_right = all(isinstance(item, items[name]) for item in value)
    else:
        is_right = isinstance(value, kinds.get(name, str))
    if name == "image_shape":
        is_right = is_right and len(value) == 3 and all(1 <= side <= LARGEST_SIDE for side in value)
    if name in ("mean", "std"):
        is_right = is_right and all(map(math.isfinite, value)) and (name == "mean" or min(value, default=0.0) > 0)
    if name == "fit":
        is_right = value in FITS
    if not is_right:
        raise ValueError(f"{name}={reprlib.repr(value)}")
