"""Layers in which every position chooses its neighbours."""

from convnn.nn import functional
from convnn.nn._factory import LayerFactory
from convnn.nn._grid import PADDING_MODES, Grid
from convnn.nn._search import SAMPLING_TYPES, SIMILARITY_TYPES, Search
from convnn.nn._shuffle import PixelShuffle1d, PixelUnshuffle1d
from convnn.nn.functional import AGGREGATION_TYPES, PREFERENCES
from convnn.nn.maps._layer import MapLayer, SearchingLayer
from convnn.nn.maps.attention import ConvNNAttention1d, ConvNNAttention2d, ConvNNAttention3d
from convnn.nn.maps.branching import Branching1d, Branching2d, Branching3d
from convnn.nn.maps.conv_new import Conv1dNew, Conv2dNew, Conv3dNew
from convnn.nn.maps.convnn import ConvNN1d, ConvNN2d, ConvNN3d
from convnn.nn.maps.placed import ConvNNPos1d, ConvNNPos2d, ConvNNPos3d
from convnn.nn.registry import LAYERS, layer_factory, list_layers, register_layer
from convnn.nn.replace import Fate, ReplacementReport, Where, replace_layers
from convnn.nn.tokens._layer import NeighborAttention, TokenLayer
from convnn.nn.tokens.attention import KvtAttention, MultiheadAttention
from convnn.nn.tokens.branching import BranchAttention, BranchConv, MultiheadConv, TokenBranching
from convnn.nn.tokens.convnn import CONVOLUTION_TYPES, MultiheadConvNNAttention
from convnn.nn.tokens.windows import SPARSE_MODES, LocalAttention, NeighborhoodAttention, SparseAttention

__all__ = [
    "AGGREGATION_TYPES",
    "CONVOLUTION_TYPES",
    "LAYERS",
    "PADDING_MODES",
    "PREFERENCES",
    "SAMPLING_TYPES",
    "SIMILARITY_TYPES",
    "SPARSE_MODES",
    "BranchAttention",
    "BranchConv",
    "Branching1d",
    "Branching2d",
    "Branching3d",
    "Conv1dNew",
    "Conv2dNew",
    "Conv3dNew",
    "ConvNN1d",
    "ConvNN2d",
    "ConvNN3d",
    "ConvNNAttention1d",
    "ConvNNAttention2d",
    "ConvNNAttention3d",
    "ConvNNPos1d",
    "ConvNNPos2d",
    "ConvNNPos3d",
    "Fate",
    "Grid",
    "KvtAttention",
    "LayerFactory",
    "LocalAttention",
    "MapLayer",
    "MultiheadAttention",
    "MultiheadConv",
    "MultiheadConvNNAttention",
    "NeighborAttention",
    "NeighborhoodAttention",
    "PixelShuffle1d",
    "PixelUnshuffle1d",
    "ReplacementReport",
    "Search",
    "SearchingLayer",
    "SparseAttention",
    "TokenBranching",
    "TokenLayer",
    "Where",
    "functional",
    "layer_factory",
    "list_layers",
    "register_layer",
    "replace_layers",
]
