"""Layers on graphs are registered without being imported; what is said about them must hold once they are."""

import pickle

import pytest
import torch

from convnn.nn import LAYERS, GraphOnTokens, graphs, layer_factory, list_layers
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


@pytest.mark.parametrize("name", list_layers("graphs"))
def test_layers_stand_on_maps_and_on_tokens(name: str) -> None:
    x = torch.randn(2, 6, 5, 4)
    assert layer_factory(name, on="maps", K=4)(6, 8)(x).shape == (2, 8, 5, 4)
    assert layer_factory(name, on="sequences", K=4)(6, 8, stride=2)(x.flatten(2)).shape == (2, 8, 10)
    factory = layer_factory(name, on="tokens", K=4)
    assert factory(6, 3)(x.flatten(2).mT).shape == (2, 20, 6)
    assert type(pickle.loads(pickle.dumps(factory))(6, 3)) is GraphOnTokens


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = graphs.Nothing
