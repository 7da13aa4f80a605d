"""Tests that layers are readable: few base classes, and no long lists of positional arguments."""

import ast
from pathlib import Path

from torch import nn

import convnn.nn

LAYERS = [kind for kind in vars(convnn.nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
SOURCES = sorted(Path(convnn.nn.__file__).parent.rglob("*.py"))


def test_a_layer_is_at_most_three_classes_of_ours() -> None:
    """An example is `ConvNN2d`, `ConvNN`, `MapLayer`."""
    ours = {layer: [kind for kind in layer.__mro__ if kind.__module__.split(".")[0] == "convnn"] for layer in LAYERS}
    assert len(ours[convnn.nn.ConvNN2d]) == 3
    assert {layer: kinds for layer, kinds in ours.items() if len(kinds) > 3} == {}


def test_constructors_hand_on_by_name() -> None:
    """Only input and output widths may be passed by position."""
    calls = {path: [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)] for path in SOURCES}
    constructors = {
        path: [n for n in found if ast.unparse(n.func) == "super().__init__"] for path, found in calls.items()
    }
    assert any(constructors.values())
    long = {path.name: [ast.unparse(n) for n in found if len(n.args) > 3] for path, found in constructors.items()}
    assert {name: found for name, found in long.items() if found} == {}
