"""Loading of the images that the flags of a command select."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convnn.cli._flags import config_from, flag_names, given_flags
from convnn.cli._parser import Parser
from convnn.data import (
    DATASETS,
    FITS,
    GRAPH_SETS,
    INTERACTION_SETS,
    MIXTURE_SETS,
    PANORAMA_SETS,
    RASTERS,
    READERS,
    REGRESSIONS,
    SEGMENTATION_SETS,
    SIGNALS,
    TRIPLE_SETS,
    UNLABELLED_SETS,
    VOLUME_SETS,
    LabelledData,
    LabelledPart,
    load_data,
    load_part,
)
from convnn.data.folders import pictures_below
from convnn.data.options import MADE_SETS
from convnn.errors import InputError, check_choice
from convnn.models import data_of, list_models, own_loss_of, task_of
from convnn.train import Recipe, TrainConfig

FLAGS = (
    "batch_size",
    "resize",
    "fit",
    "augment",
    "noise",
    "seed",
    "num_workers",
    "download",
    "limit_train",
    "limit_test",
    "on_bad_image",
    "keep_images",
    *READERS,
)
"""Flags that are passed to `load_data` as arguments of the same name."""

ARGUMENTS = {name: name for name in (*FLAGS, "dataset", "data_path", "part")}
"""Flags by the arguments of `load_data` and `load_part`."""


def check_criterion(config: TrainConfig) -> None:
    """Refuse a loss for classes where the labels are numbers.

    Raises:
        InputError: the loss does not suit the data set.
    """
    if config.dataset in REGRESSIONS and config.criterion != "MSE":
        raise InputError(
            f"--criterion={config.criterion} is for classes, but --dataset={config.dataset} has numbers to predict;"
            " leave it out, or give MSE"
        )
    is_dense = config.dataset in SEGMENTATION_SETS
    if is_dense and config.criterion == "MSE":
        raise InputError(
            f"--criterion=MSE is for numbers, but --dataset={config.dataset} has a class for every pixel; leave it out,"
            " or give CrossEntropy+Dice"
        )
    if config.criterion == "CrossEntropy+Dice" and not is_dense:
        raise InputError(
            f"--criterion=CrossEntropy+Dice is for a class for every pixel, as {', '.join(SEGMENTATION_SETS)} have,"
            f" not for --dataset={config.dataset}; leave it out"
        )
    if config.dataset in INTERACTION_SETS and config.criterion != "CrossEntropy":
        raise InputError(
            f"--criterion={config.criterion} is for one class of a sample, but users of --dataset={config.dataset} have"
            " several items; leave it out"
        )
    if config.dataset in TRIPLE_SETS and config.criterion == "MSE":
        raise InputError(
            f"--criterion=MSE is for numbers, but --dataset={config.dataset} has entities to rank; leave it out"
        )


SETS_OF = {
    "sequences": (*RASTERS, *SIGNALS),
    "volumes": VOLUME_SETS,
    "graphs": tuple(GRAPH_SETS),
    "interactions": INTERACTION_SETS,
    "triples": TRIPLE_SETS,
    "mixtures": MIXTURE_SETS,
    "panoramas": PANORAMA_SETS,
    **UNLABELLED_SETS,
}
"""Data sets by what they have; all others have images."""


def check_inputs(config: TrainConfig) -> None:
    """Refuse a network that cannot read what the data set has.

    Raises:
        InputError: they are of different kinds; the message names both and what would fit.
    """
    if task_of(config.model) == "segmentation" and config.dataset not in SEGMENTATION_SETS:
        raise InputError(
            f"--model={config.model} gives every pixel a class, but --dataset={config.dataset} has one for each sample;"
            f" data sets with masks are {', '.join(SEGMENTATION_SETS)}"
        )
    reads = kind_read(config.model)
    own = own_loss_of(config.model)
    if own is None and config.values is not None:
        raise InputError(
            f"--values={config.values} makes images without labels, but --model={config.model} needs some; leave it"
            " out, or give --model finc_flow"
        )
    has = next((kind for kind, names in SETS_OF.items() if config.dataset in names), "images")
    if reads == has:
        return
    if reads == "images":
        advice = f"networks on {has} are {', '.join(name for name in list_models() if kind_read(name) == has)}"
    else:
        advice = f"data sets of {reads} are {', '.join(SETS_OF[reads])}"
    raise InputError(f"--model={config.model} reads {reads}, but --dataset={config.dataset} has {has}; the {advice}")


def sets_of(model: str) -> tuple[str, ...]:
    """Return the data sets that a network can learn, but for what only their files tell."""
    kind = kind_read(model)
    others = {name for reads, names in SETS_OF.items() if reads != kind for name in names}
    sets = SETS_OF.get(kind, tuple(name for name in DATASETS if name not in others))
    if task_of(model) == "segmentation":
        return tuple(name for name in sets if name in SEGMENTATION_SETS)
    return sets if own_loss_of(model) is None else tuple(name for name in sets if name not in SEGMENTATION_SETS)


def kind_read(model: str) -> str:
    """Return what a network reads: "images", or one of `SETS_OF`."""
    reads = data_of(model)
    return reads if reads in SETS_OF else "images"


def open_data(config: TrainConfig, **changes: Any) -> LabelledData:
    """Load the images that the flags of a run select.

    Args:
        config: the flags.
        changes: further arguments of `load_data`, which override the flags.
    """
    with flag_names(ARGUMENTS):
        return load_data(config.dataset, config.data_path, **_arguments(config) | changes)


def open_part(config: TrainConfig, part: str, **changes: Any) -> LabelledPart:
    """Load one part of the images; if parts are folders, the others may be missing."""
    with flag_names(ARGUMENTS):
        return load_part(config.dataset, config.data_path, part, **_arguments(config) | changes)


def config_like(args: argparse.Namespace, recipe: Recipe, **settings: Any) -> TrainConfig:
    """Return the given flags, with the data set and its folder from the checkpoint if no flag names them.

    Raises:
        InputError: a value is unknown or out of range, or the folder of files is given to a set that has none.
    """
    given = given_flags(args)
    if "data_path" in given and "dataset" not in given and recipe.dataset in MADE_SETS:
        raise InputError(
            f"--data_path={given['data_path']} is not looked at: the checkpoint learned {recipe.dataset}, which needs"
            " no files; leave it out, or name your data set by --dataset"
        )
    return config_from(args, **(remembered_data(recipe, given) | settings))


def remembered_data(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint knows of its data, unless flags say otherwise: the set, its settings, and its folder."""
    if given.get("dataset", recipe.dataset) != recipe.dataset:
        return {name: recipe.data_settings[name] for name in ("values",) if name in recipe.data_settings.keys() - given}
    is_there = bool(recipe.data_path) and "data_path" not in given and Path(recipe.data_path).exists()
    settings = {name: value for name, value in recipe.data_settings.items() if name not in given}
    return settings | {"dataset": recipe.dataset} | ({"data_path": recipe.data_path} if is_there else {})


def add_fit_flag(parser: Parser) -> None:
    """Add `--fit`, how pictures are brought to the image size of a checkpoint."""
    parser.add_argument(
        "--fit",
        default=argparse.SUPPRESS,
        metavar="{" + ",".join(FITS) + "}",
        help="how pictures are brought to the network's image size (default: as in training)",
    )


def fit_from(args: argparse.Namespace, recipe: Recipe) -> str:
    """Return the value of `--fit`, or that of the checkpoint's training.

    Raises:
        InputError: the value is not one of `FITS`.
    """
    fit: str = getattr(args, "fit", recipe.fit)
    check_choice("--fit", fit, FITS)
    return fit


def find_pictures(paths: Iterable[str], refuse: Callable[[object], None]) -> Iterator[str]:
    """Yield picture files: each path that is a file, and all pictures in and below each folder, as in a data set.

    Args:
        paths: paths of files and folders.
        refuse: function that reports a folder that cannot be listed or has no pictures.
    """

    def refuse_folder(error: OSError) -> None:
        refuse(f"the folder {error.filename} cannot be listed: {error.strerror or error}")

    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        pictures = pictures_below(path, refuse_folder)
        yield from (str(Path(picture)) for picture in pictures)
        if not pictures:
            refuse(f"the folder {path} has no pictures")


def _arguments(config: TrainConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in FLAGS}
