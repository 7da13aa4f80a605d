"""The images that the flags of a command name."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torchvision.datasets.folder import IMG_EXTENSIONS

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


def find_pictures(paths: Iterable[str], refuse: Callable[[object], None]) -> Iterator[str]:
    """The files that paths name: each file itself; of each folder the pictures in it and below, as in a data set.

    Args:
        paths: of files and folders.
        refuse: is told of a folder that cannot be listed, or has no picture.
    """

    def refuse_folder(error: OSError) -> None:
        refuse(f"the folder {error.filename} cannot be listed: {error.strerror or error}")

    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        count = 0
        for folder, _, names in sorted(os.walk(path, onerror=refuse_folder, followlinks=True)):
            for name in sorted(names):
                if name.lower().endswith(IMG_EXTENSIONS):
                    count += 1
                    yield str(Path(folder) / name)
        if not count:
            refuse(f"the folder {path} has no picture, {', '.join(IMG_EXTENSIONS)}")
