from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convnn.data import LabelledData, load_data

FolderMaker = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> FolderMaker:
    """Return a function that writes a folder of random pictures: `per_class` for each class and part."""

    def make(
        parts: tuple[str, ...] = ("train", "val"),
        classes: tuple[str, ...] = ("cat", "dog"),
        per_class: int = 4,
        width: int = 12,
        height: int = 12,
    ) -> Path:
        pixels = np.random.default_rng(0)
        for part in parts:
            for name in classes:
                folder = tmp_path / part / name
                folder.mkdir(parents=True)
                for number in range(per_class):
                    picture = pixels.integers(0, 256, (height, width, 3), dtype=np.uint8)
                    Image.fromarray(picture).save(folder / f"{number}.png")
        return tmp_path

    return make


@pytest.fixture(params=["digits", "imagefolder"])
def load(request: pytest.FixtureRequest, make_folder: FolderMaker) -> Callable[..., LabelledData]:
    """Return a function that loads a data set on the device or a streamed one, with everything random enabled."""
    path = make_folder(per_class=10) if request.param == "imagefolder" else "unused"

    def load(**changes: Any) -> LabelledData:
        arguments = {"batch_size": 7, "augment": True, "noise": 0.1, "num_workers": 0, "limit_train": 17}
        return load_data(request.param, path, **arguments | changes)

    return load
