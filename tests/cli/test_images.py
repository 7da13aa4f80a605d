"""Tests of loading the images that flags select."""

import pytest

from convnn.cli._images import open_data, open_part
from convnn.errors import InputError
from convnn.train import TrainConfig


def test_errors_name_flags_where_the_library_names_arguments(tmp_path):
    folder = tmp_path / "K=3"  # part of a path, not an argument
    folder.mkdir()
    (folder / "resize=4").mkdir()
    config = TrainConfig(dataset="cifar10", data_path=str(folder / "resize=4"))
    with pytest.raises(InputError, match=r"^--data_path='.*K=3/resize=4' holds no .*; pass --download, or unpack"):
        open_data(config)
    with pytest.raises(InputError, match=r"^--keep_images stores images that --augment changes in every epoch"):
        open_data(TrainConfig(dataset="digits"), keep_images=True, augment=True)
    with pytest.raises(InputError, match=r"^--part='tset' is not one of"):
        open_part(TrainConfig(dataset="digits"), "tset")
