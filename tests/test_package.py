import importlib
import pkgutil
from pathlib import Path

import pytest
import torch

import convnn


def test_the_layer_is_there_after_one_import() -> None:
    layer = convnn.nn.ConvNN2d(64, 128, K=9)
    assert layer(torch.randn(1, 64, 6, 6)).shape == (1, 128, 6, 6)


def test_every_exported_name_exists() -> None:
    names = [module.name for module in pkgutil.walk_packages(convnn.__path__, "convnn.")]
    assert "convnn.ops.select" in names
    for module in map(importlib.import_module, names):
        assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == [], module.__name__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ConvNN2d'; layers are in convnn"):
        convnn.ConvNN2d  # noqa: B018
    with pytest.raises(AttributeError, match="module 'convnn' has no attribute 'layers'"):
        convnn.layers  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (Path(convnn.__file__).parent / "py.typed").is_file()


def test_dir_shows_what_there_is() -> None:
    assert dir(convnn) == sorted(convnn.__all__)
    assert {"load", "nn", "replace_layers", "train"} <= set(dir(convnn))
