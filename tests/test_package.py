import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import convnn

MODULES = sorted(module.name for module in pkgutil.walk_packages(convnn.__path__, "convnn."))


def test_the_layer_is_there_after_one_import() -> None:
    layer = convnn.nn.ConvNN2d(64, 128, K=9)
    assert layer(torch.randn(1, 64, 6, 6)).shape == (1, 128, 6, 6)


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported)


@pytest.mark.slow
def test_the_package_itself_does_not_wait_for_torch() -> None:
    program = "import sys, convnn; assert 'torch' not in sys.modules; convnn.ops; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    with pytest.raises(AttributeError, match="module 'convnn' has no attribute 'layers'"):
        convnn.layers  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (Path(convnn.__file__).parent / "py.typed").is_file()


def test_dir_shows_what_there_is() -> None:
    assert dir(convnn) == sorted(convnn.__all__)
    assert {"load", "nn", "replace_layers", "train"} <= set(dir(convnn))
