"""How a network was built and what it was trained on, and how this is read from files that anyone may have written."""

import math
import reprlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from convnn.data import FITS, KINDS, ON_GRAPHS, READERS, SEGMENTATION_SETS
from convnn.errors import InputError
from convnn.models import Network, create_model, data_of, list_models, own_loss_of, sizes_of
from convnn.words import counted

LARGEST_SIDE = 1 << 14
"""Pixels; a recipe with a larger side is refused."""

MOST_FEATURES = 1 << 20
"""Features of a node; a recipe with more is refused, and so is a larger number in a shape of another kind."""

LARGEST_SIZES = {
    "image": LARGEST_SIDE,
    "volume": LARGEST_SIDE,
    "sequence": LARGEST_SIDE**2,
    "interaction": 1 << 32,  # users and items
}
"""The largest number in a shape, by the kind of a sample, where it is another."""

KINDS_READ = {
    "images": ("image",),
    "volumes": ("volume",),
    "sequences": ("sequence",),
    "graphs": ON_GRAPHS,
    "interactions": ("interaction",),
    "triples": ("triple",),
    "mixtures": ("mixture",),
    "panoramas": ("panorama",),
}
"""The kinds of samples that a network may have learned, by what it reads."""

NORMALISED = ("image", "sequence", "volume")
"""Kinds of samples whose channels are normalised."""

LARGEST_NUMBER = 2**32
"""A bound that no setting and no flag reaches; seeds come close."""

LARGEST_DEPTH = 100
"""Blocks; a deeper recipe must come with as many weights."""

WIDEST_PADDING = 32
"""Pixels; a recipe with more padding must have images as large."""


@dataclass(frozen=True)
class Recipe:
    """How a network was built and which images it was trained on.

    Attributes:
        model, layer, width, settings: arguments of `convnn.models.create_model`.
        dataset: what it learned.
        data_path: the folder where that was, absolute; empty where it is not known.
        input_shape: (C, H, W) of its images, (C, T) of its sequences, or as `convnn.data.LabelledData` has it.
        kind: the word for a sample, as `convnn.data.LabelledData` has it.
        mean, std: mean and standard deviation of each channel, by which images were normalised; empty for graphs.
        classes: names of the classes in the order of the logits; none without labels.
        fit: how pictures of another shape were brought to that size, one of `convnn.data.FITS`.
        epoch: number of epochs trained.
        test_top1: test accuracy after that epoch, 0 to 1; None if it was not measured.
        imports: modules that register its layer, separated by commas.
        names: what the numbers in its samples stand for, as in `convnn.data.LabelledData`.
        data_settings: arguments of `convnn.data.load_data` by which sequences or graphs were made; empty for images.
    """

    model: str
    layer: str
    width: float
    settings: dict[str, Any]
    dataset: str
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    fit: str = "crop"
    epoch: int = 0
    test_top1: float | None = 0.0
    imports: str = ""
    data_path: str = ""
    data_settings: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    kind: str = "image"

    def build(self) -> Network:
        """Build the network with fresh weights.

        Raises:
            InputError: a setting is unknown or out of range.
        """
        return create_model(
            self.model,
            self.layer,
            num_classes=len(self.classes),
            width=self.width,
            dense=self.dataset in SEGMENTATION_SETS,
            **sizes_of(self.model, self.input_shape),
            **self.settings,
        )


def check_sizes(recipe: Recipe, num_weights: int) -> None:
    """Refuse sizes that the weights do not bear out: too many blocks, or padding larger than the images."""
    for name, value in recipe.settings.items():
        if isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER:
            raise InputError(f"{name}={reprlib.repr(value)}")
    depth, padding = recipe.settings.get("num_layers", 0), recipe.settings.get("padding", 0)
    if isinstance(depth, int) and depth > max(num_weights, LARGEST_DEPTH):
        raise InputError(f"num_layers={depth} for {counted(num_weights, 'weight')}")
    if isinstance(padding, int) and padding > max((*recipe.input_shape[1:], WIDEST_PADDING)):
        raise InputError(f"padding={padding} for images of shape {recipe.input_shape}")


def parse_recipe(document: Any, path: str | Path) -> Recipe:
    """Parse the untrusted recipe of a file.

    Raises:
        InputError: something is missing, unknown or of another type, or shape and statistics do not fit the kind.
    """
    try:
        sequences = {name: tuple(document[name]) for name in ("input_shape", "mean", "std", "classes")}
        recipe = Recipe(**(document | sequences | {"names": tuple(document.get("names", ()))}))
        for f in fields(Recipe):
            _check_type(f.name, getattr(recipe, f.name))
        _check_kind(recipe)
        _check_shape(recipe)
        _check_statistics(recipe)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"checkpoint '{path}' has a recipe that cannot be read: {error}") from None
    return recipe


def _check_type(name: str, value: Any) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "settings": dict,
        "data_settings": dict,
        "epoch": int,
        "test_top1": (float, type(None)),
        "width": (int, float),
    }
    items: dict[str, type] = {"input_shape": int, "mean": float, "std": float, "classes": str, "names": str}
    if name in items:
        is_valid = all(isinstance(item, items[name]) for item in value)
    else:
        is_valid = isinstance(value, kinds.get(name, str))
    if name == "data_settings":
        is_valid = is_valid and all(
            key in (*READERS, "resize") and isinstance(setting, int | float | None) for key, setting in value.items()
        )
    if name in ("mean", "std"):
        is_valid = is_valid and all(map(math.isfinite, value)) and (name == "mean" or min(value, default=1.0) > 0)
    if name == "fit":
        is_valid = value in FITS
    if not is_valid:
        raise ValueError(f"{name}={reprlib.repr(value)}")


def _check_kind(recipe: Recipe) -> None:
    """Refuse a kind that the network does not read; one with a loss of its own may read any but images."""
    known = recipe.model in list_models()
    own = own_loss_of(recipe.model) if known else None
    if own is not None and own.data != "images":
        return
    if recipe.kind not in KINDS_READ[data_of(recipe.model) if known and own is None else "images"]:
        raise ValueError(f"kind={reprlib.repr(recipe.kind)} for {recipe.model}")


def _check_shape(recipe: Recipe) -> None:
    """Refuse a shape of another length than that of the kind, and numbers that are too large."""
    shape, largest = recipe.input_shape, LARGEST_SIZES.get(recipe.kind, MOST_FEATURES)
    if not shape or len(shape) != KINDS.get(recipe.kind, len(shape)) or not all(1 <= size <= largest for size in shape):
        raise ValueError(f"input_shape={reprlib.repr(list(shape))} of kind={recipe.kind!r}")


def _check_statistics(recipe: Recipe) -> None:
    """Refuse statistics of another number than the channels; data without labels may have none."""
    channels = recipe.input_shape[0]
    if recipe.kind in KINDS and recipe.kind not in NORMALISED:
        allowed = {0}
    else:
        allowed = {channels} if recipe.classes else {0, channels}
    if len(recipe.mean) != len(recipe.std) or len(recipe.mean) not in allowed:
        raise ValueError(f"mean={recipe.mean} and std={recipe.std} of inputs of shape {recipe.input_shape}")
