"""Tests that layers are readable: few base classes, and no long lists of positional arguments."""

import ast
from pathlib import Path

import pytest
from torch import nn

import convnn.nn

LAYERS = [kind for kind in vars(convnn.nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
SOURCES = sorted(Path(convnn.nn.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_layer_is_at_most_three_classes_of_ours(layer: type) -> None:
    """An example is `ConvNN2d`, `ConvNN`, `MapLayer`."""
    ours = [kind.__name__ for kind in layer.__mro__ if kind.__module__.split(".")[0] == "convnn"]
    assert len(ours) <= 3


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_constructors_hand_on_by_name(source: Path) -> None:
    """Only input and output widths may be passed by position."""
    calls = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call))
    for call in calls:
        if ast.unparse(call.func) == "super().__init__":
            assert len(call.args) <= 3, ast.unparse(call)
