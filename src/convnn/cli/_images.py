"""The images that the flags of a command name."""

import argparse
from typing import Any

from convnn.cli._flags import Parser
from convnn.data import FITS, ImageData, ImagePart, load_data, load_part
from convnn.errors import check_choice
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
)
"""Those that are arguments of `load_data` of the same name."""


def open_images(config: TrainConfig, **changes: Any) -> ImageData:
    """The images that the flags of a run name.

    Args:
        config: the flags.
        changes: arguments of `load_data` that are none of these, or that differ from them.
    """
    return load_data(config.dataset, config.data_path, **_arguments(config) | changes)


def open_part(config: TrainConfig, part: str, **changes: Any) -> ImagePart:
    """One part of these images; where they are in folders the others need not be there."""
    return load_part(config.dataset, config.data_path, part, **_arguments(config) | changes)


def add_fit_flag(parser: Parser) -> None:
    """How pictures are brought to the size that a checkpoint's network learned."""
    parser.add_argument(
        "--fit",
        default=argparse.SUPPRESS,
        metavar="{" + ",".join(FITS) + "}",
        help="how pictures come to the size of the network's images; as in training when left out",
    )


def fit_from(args: argparse.Namespace, recipe: Recipe) -> str:
    """What `--fit` says, or else how the checkpoint's network was trained.

    Raises:
        InputError: it says none of `FITS`.
    """
    fit: str = getattr(args, "fit", recipe.fit)
    check_choice("--fit", fit, FITS)
    return fit


def _arguments(config: TrainConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in FLAGS}
