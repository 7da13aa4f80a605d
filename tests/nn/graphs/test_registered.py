"""Layers on graphs are registered without being imported; what is said about them must hold once they are."""

import pytest

from convnn.nn import LAYERS, graphs, layer_factory, list_layers
from convnn.nn.graphs._deferred import public_names
from convnn.nn.registry import keyword_defaults

NAMES = sorted(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_signature(name: str) -> None:
    deferred = public_names()[name]
    assert keyword_defaults(deferred) == keyword_defaults(getattr(graphs, name))


@pytest.mark.parametrize("name", list_layers("graphs"))
def test_layers_are_built_from_channels_and_settings(name: str) -> None:
    layer = layer_factory(name, **LAYERS[name].settings)(6, 8)
    assert callable(layer)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = graphs.Nothing
