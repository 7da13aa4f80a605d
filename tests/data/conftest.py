from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FolderMaker = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> FolderMaker:
    """Image folder of random pictures: `per_class` for each class of each part, `width` x `height` pixels."""

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
