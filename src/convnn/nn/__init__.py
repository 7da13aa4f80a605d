"""Layers in which every position chooses its neighbours."""

from convnn.nn import functional
from convnn.nn._layer import LayerFactory, MapLayer, SearchingLayer
from convnn.nn._search import SAMPLING_TYPES, SIMILARITY_TYPES, Search
from convnn.nn._shuffle import PixelShuffle1d, PixelUnshuffle1d
from convnn.nn.attention import ConvNNAttention1d, ConvNNAttention2d
from convnn.nn.branching import Branching1d, Branching2d
from convnn.nn.conv_new import Conv1dNew, Conv2dNew
from convnn.nn.convnn import ConvNN1d, ConvNN2d, ConvNN3d
from convnn.nn.functional import AGGREGATION_TYPES
from convnn.nn.registry import LAYERS, layer_factory, list_layers, register_layer

__all__ = [
    "AGGREGATION_TYPES",
    "LAYERS",
    "SAMPLING_TYPES",
    "SIMILARITY_TYPES",
    "Branching1d",
    "Branching2d",
    "Conv1dNew",
    "Conv2dNew",
    "ConvNN1d",
    "ConvNN2d",
    "ConvNN3d",
    "ConvNNAttention1d",
    "ConvNNAttention2d",
    "LayerFactory",
    "MapLayer",
    "PixelShuffle1d",
    "PixelUnshuffle1d",
    "Search",
    "SearchingLayer",
    "functional",
    "layer_factory",
    "list_layers",
    "register_layer",
]
