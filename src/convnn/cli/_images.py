"""The images that the flags of a command name."""

from typing import Any

from convnn.data import ImageData, load_data
from convnn.train import TrainConfig

FLAGS = (
    "batch_size",
    "resize",
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
    arguments = {name: getattr(config, name) for name in FLAGS} | changes
    return load_data(config.dataset, config.data_path, **arguments)
