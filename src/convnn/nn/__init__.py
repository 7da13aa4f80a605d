"""Layers in which every position chooses its neighbours, or takes those in its window."""

from convnn.nn import functional
from convnn.nn._activations import ACTIVATIONS
from convnn.nn._cost import SlowSearchWarning
from convnn.nn._depthwise import DepthwiseConv1d, DepthwiseConv2d, DepthwiseConv3d
from convnn.nn._extensions import import_layers
from convnn.nn._factory import LayerFactory
from convnn.nn._grid import PADDING_MODES, Grid
from convnn.nn._layer import ChoosingLayer, MapLayer, TokenLayer, UnpaddedLayer
from convnn.nn._search import SAMPLING_TYPES, SEARCHES, SIMILARITY_TYPES, Search
from convnn.nn._shuffle import PixelShuffle1d, PixelUnshuffle1d
from convnn.nn.functional import AGGREGATION_TYPES, PREFERENCES
from convnn.nn.generated.convolve import USES_OF_FFT, Targets, convolve
from convnn.nn.generated.dense import (
    CKConv1d,
    CKConv2d,
    CKConv3d,
    FlexConv1d,
    FlexConv2d,
    FlexConv3d,
    SMPConv1d,
    SMPConv2d,
    SMPConv3d,
)
from convnn.nn.generated.long import LagConv, LongConv1d, LongConv2d, LongConv3d, SGConv1d, SGConv2d, SGConv3d
from convnn.nn.generated.operator import GeneratedConv, set_rate
from convnn.nn.generated.paired import PointsAndSmall
from convnn.nn.generated.points import PointConv
from convnn.nn.generated.separable import CCNNConv1d, CCNNConv2d, CCNNConv3d
from convnn.nn.graphs.found.on_grid import GraphOnGrid1d, GraphOnGrid2d, GraphOnGrid3d
from convnn.nn.graphs.found.on_maps import GraphOnMap1d, GraphOnMap2d, GraphOnMap3d
from convnn.nn.graphs.found.on_tokens import GraphOnTokens
from convnn.nn.invertible.glow import ActNorm2d, AffineCoupling, InvertiblePointwise, Logit, Squeeze2d
from convnn.nn.invertible.protocol import Invertible, InvertibleSequence
from convnn.nn.invertible.triangular import FInC2d, TriangularConv2d
from convnn.nn.kernels.convolution import ConvMaker
from convnn.nn.kernels.function import Horizon, KernelFunction
from convnn.nn.kernels.gabor import GaborKernel, GaussianMask, MaskedKernel
from convnn.nn.kernels.kan import BASES, KAN_ACTIVATIONS, KAN_NORMS
from convnn.nn.kernels.merging import Mergeable, Merged, MergeReport, merge
from convnn.nn.kernels.offsets import OffsetAttention
from convnn.nn.kernels.parallel import ConvNorm, ParallelConv, ResidualConv
from convnn.nn.kernels.points import PointKernel
from convnn.nn.kernels.pyramid import PyramidKernel
from convnn.nn.kernels.shifted import ShiftedSum2d
from convnn.nn.kernels.siren import SirenKernel
from convnn.nn.kernels.squashed import TAP_INITS, SquashedKernel
from convnn.nn.kernels.wavelets import WAVELETS
from convnn.nn.lie_groups.decomposition import GROUPS as LIE_GROUPS
from convnn.nn.lie_groups.layers import GROUP_POOLS, GroupConv2d, LieConv2d, LiftConv2d
from convnn.nn.maps.attention import ConvNNAttn1d, ConvNNAttn2d, ConvNNAttn3d
from convnn.nn.maps.branching import Branching1d, Branching2d, Branching3d
from convnn.nn.maps.conv_new import Conv1dNew, Conv2dNew, Conv3dNew
from convnn.nn.maps.convnn import ConvNN1d, ConvNN2d, ConvNN3d
from convnn.nn.maps.placed import ConvNNPos1d, ConvNNPos2d, ConvNNPos3d
from convnn.nn.positional import PositionalEncoding2d
from convnn.nn.registry import LAYERS, layer_factory, list_layers, register_layer
from convnn.nn.replace import (
    Fate,
    ReducedBlocks,
    ReplacementReport,
    SharingReport,
    Where,
    reduce_tokens,
    replace_depthwise,
    replace_layers,
    share_kernels,
)
from convnn.nn.routed.experts import CondConv1d, CondConv2d, CondConv3d
from convnn.nn.routed.frequency import FDConv2d
from convnn.nn.routed.pixel_kernels import (
    KernelPrediction,
    PixelKernels2d,
    SelectiveCorrelationFusion,
    pixel_kernel_conv,
)
from convnn.nn.routed.prototypes import KernelLogits, PrototypicalKernelHead, novel_kernel, prototype_loss
from convnn.nn.tokens._layer import NeighborAttention
from convnn.nn.tokens.attention import Attention, KvtAttention
from convnn.nn.tokens.blocks import BlockSparseAttention
from convnn.nn.tokens.branching import BranchAttention, BranchConv, MultiheadConv, TokenBranching
from convnn.nn.tokens.convnn import CONVOLUTION_TYPES, ConvNNAttention
from convnn.nn.tokens.delta_rule import RWKV7, CrossWKV
from convnn.nn.tokens.global_context import (
    SCOPES_OF_QUERIES,
    GatedConvolution,
    GlobalContext,
    GlobalQueries,
    WindowAttention,
)
from convnn.nn.tokens.offsets import LKCAttention
from convnn.nn.tokens.reduce.graph import TOKEN_GRAPHS, propagate, token_graph
from convnn.nn.tokens.reduce.importance import OVER_HEADS, TOKEN_SCORES
from convnn.nn.tokens.reduce.reducers import REDUCERS, Averaging, Dropping, Propagation, Tokens
from convnn.nn.tokens.windows import SPARSE_MODES, LocalAttention, NeighborhoodAttention, SparseAttention
from convnn.nn.tokens.wkv import VRWKV, ChannelMix, FourSideShift
from convnn.nn.vision_graphs._degree import DEGREE_TYPES, DegreeEstimator
from convnn.nn.vision_graphs._ranker import EDGE_TYPES, EdgeRanker
from convnn.nn.vision_graphs.adaptive import POOLINGS, AdaptiveNeighborhoods2d
from convnn.nn.vision_graphs.axial import MGC2d, SVGA2d
from convnn.nn.vision_graphs.edge_conv import EdgeConv2d
from convnn.nn.vision_graphs.grapher import Grapher2d
from convnn.nn.vision_graphs.near_axial import DAGC2d
from convnn.nn.vision_graphs.non_local import NonLocal2d
from convnn.nn.vision_graphs.vig import GRAPH_CONVS, ViG2d
from convnn.nn.windows.bands import BandConv2d, InceptionDW2d
from convnn.nn.windows.expanded import KANConv1d, KANConv2d, KANConv3d
from convnn.nn.windows.gated_stack import LKA1d, LKA2d, LKA3d, StackedGate
from convnn.nn.windows.large_kernel import RepLK1d, RepLK2d, RepLK3d, UniRepLK1d, UniRepLK2d, UniRepLK3d
from convnn.nn.windows.multi_kernel import (
    KERNEL_ACTIVATIONS,
    MultiKernelConv,
    MultiKernelDW1d,
    MultiKernelDW2d,
    MultiKernelDW3d,
)
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.nn.windows.projected import ProjectedAttention2d, WindowCrossAttention
from convnn.nn.windows.recursion import UPSAMPLINGS, RecConv1d, RecConv2d, RecConv3d, RecursiveConv
from convnn.nn.windows.selected_kernels import LSK1d, LSK2d, LSK3d, SelectedGate
from convnn.nn.windows.shift import SpatialShift2d
from convnn.nn.windows.shift_block import SHIFT_ACTIVATIONS, ShiftBlock2d, ShiftFeedForward2d
from convnn.nn.windows.shifted_sums import ShiftWise2d
from convnn.nn.windows.strips import SDLSKA2d, StripGate2d
from convnn.nn.windows.super_kernel import SuperKernel1d, SuperKernel2d, SuperKernel3d, SuperKernelConv
from convnn.nn.windows.token_kernel import LKCA1d, LKCA2d, LKCA3d

# Every room registers its layers, in the order in which they are listed.
# isort: off
from convnn.nn.maps import _systems as _maps  # noqa: F401
from convnn.nn.vision_graphs import _systems as _vision_graphs  # noqa: F401
from convnn.nn.windows import _systems as _windows  # noqa: F401
from convnn.nn.routed import _systems as _routed  # noqa: F401
from convnn.nn.lie_groups import _systems as _lie_groups  # noqa: F401
from convnn.nn.generated import _systems as _generated  # noqa: F401
from convnn.nn.tokens import _systems as _tokens  # noqa: F401
from convnn.nn.invertible import _systems as _invertible  # noqa: F401
from convnn.nn.graphs import _systems as _graphs  # noqa: F401
from convnn.nn.triples import _systems as _triples  # noqa: F401
from convnn.nn.mixtures import _systems as _mixtures  # noqa: F401
# isort: on

__all__ = [
    "ACTIVATIONS",
    "AGGREGATION_TYPES",
    "BASES",
    "CONVOLUTION_TYPES",
    "DEGREE_TYPES",
    "EDGE_TYPES",
    "GRAPH_CONVS",
    "GROUP_POOLS",
    "KAN_ACTIVATIONS",
    "KAN_NORMS",
    "KERNEL_ACTIVATIONS",
    "LAYERS",
    "LIE_GROUPS",
    "OVER_HEADS",
    "PADDING_MODES",
    "POOLINGS",
    "PREFERENCES",
    "REDUCERS",
    "RWKV7",
    "SAMPLING_TYPES",
    "SCOPES_OF_QUERIES",
    "SEARCHES",
    "SHIFT_ACTIVATIONS",
    "SIMILARITY_TYPES",
    "SPARSE_MODES",
    "TAP_INITS",
    "TOKEN_GRAPHS",
    "TOKEN_SCORES",
    "UPSAMPLINGS",
    "USES_OF_FFT",
    "VRWKV",
    "WAVELETS",
    "ActNorm2d",
    "AdaptiveNeighborhoods2d",
    "AffineCoupling",
    "Attention",
    "Averaging",
    "BandConv2d",
    "BlockSparseAttention",
    "BranchAttention",
    "BranchConv",
    "Branching1d",
    "Branching2d",
    "Branching3d",
    "CCNNConv1d",
    "CCNNConv2d",
    "CCNNConv3d",
    "CKConv1d",
    "CKConv2d",
    "CKConv3d",
    "ChannelMix",
    "ChoosingLayer",
    "CondConv1d",
    "CondConv2d",
    "CondConv3d",
    "Conv1dNew",
    "Conv2dNew",
    "Conv3dNew",
    "ConvMaker",
    "ConvNN1d",
    "ConvNN2d",
    "ConvNN3d",
    "ConvNNAttention",
    "ConvNNAttn1d",
    "ConvNNAttn2d",
    "ConvNNAttn3d",
    "ConvNNPos1d",
    "ConvNNPos2d",
    "ConvNNPos3d",
    "ConvNorm",
    "CrossWKV",
    "DAGC2d",
    "DegreeEstimator",
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "DepthwiseConv3d",
    "Dropping",
    "EdgeConv2d",
    "EdgeRanker",
    "FDConv2d",
    "FInC2d",
    "Fate",
    "FlexConv1d",
    "FlexConv2d",
    "FlexConv3d",
    "FourSideShift",
    "GaborKernel",
    "GatedConvolution",
    "GaussianMask",
    "GeneratedConv",
    "GlobalContext",
    "GlobalQueries",
    "GraphOnGrid1d",
    "GraphOnGrid2d",
    "GraphOnGrid3d",
    "GraphOnMap1d",
    "GraphOnMap2d",
    "GraphOnMap3d",
    "GraphOnTokens",
    "Grapher2d",
    "Grid",
    "GroupConv2d",
    "Horizon",
    "InceptionDW2d",
    "Invertible",
    "InvertiblePointwise",
    "InvertibleSequence",
    "KANConv1d",
    "KANConv2d",
    "KANConv3d",
    "KernelFunction",
    "KernelLogits",
    "KernelPrediction",
    "KvtAttention",
    "LKA1d",
    "LKA2d",
    "LKA3d",
    "LKCA1d",
    "LKCA2d",
    "LKCA3d",
    "LKCAttention",
    "LSK1d",
    "LSK2d",
    "LSK3d",
    "LagConv",
    "LayerFactory",
    "LieConv2d",
    "LiftConv2d",
    "LocalAttention",
    "Logit",
    "LongConv1d",
    "LongConv2d",
    "LongConv3d",
    "MGC2d",
    "MapLayer",
    "MaskedKernel",
    "MergeReport",
    "Mergeable",
    "Merged",
    "MultiKernelConv",
    "MultiKernelDW1d",
    "MultiKernelDW2d",
    "MultiKernelDW3d",
    "MultiheadConv",
    "NeighborAttention",
    "NeighborhoodAttention",
    "NeighborhoodAttention2d",
    "NonLocal2d",
    "OffsetAttention",
    "ParallelConv",
    "PixelKernels2d",
    "PixelShuffle1d",
    "PixelUnshuffle1d",
    "PointConv",
    "PointKernel",
    "PointsAndSmall",
    "PositionalEncoding2d",
    "ProjectedAttention2d",
    "Propagation",
    "PrototypicalKernelHead",
    "PyramidKernel",
    "RecConv1d",
    "RecConv2d",
    "RecConv3d",
    "RecursiveConv",
    "ReducedBlocks",
    "RepLK1d",
    "RepLK2d",
    "RepLK3d",
    "ReplacementReport",
    "ResidualConv",
    "SDLSKA2d",
    "SGConv1d",
    "SGConv2d",
    "SGConv3d",
    "SMPConv1d",
    "SMPConv2d",
    "SMPConv3d",
    "SVGA2d",
    "Search",
    "SelectedGate",
    "SelectiveCorrelationFusion",
    "SharingReport",
    "ShiftBlock2d",
    "ShiftFeedForward2d",
    "ShiftWise2d",
    "ShiftedSum2d",
    "SirenKernel",
    "SlowSearchWarning",
    "SparseAttention",
    "SpatialShift2d",
    "SquashedKernel",
    "Squeeze2d",
    "StackedGate",
    "StripGate2d",
    "SuperKernel1d",
    "SuperKernel2d",
    "SuperKernel3d",
    "SuperKernelConv",
    "Targets",
    "TokenBranching",
    "TokenLayer",
    "Tokens",
    "TriangularConv2d",
    "UniRepLK1d",
    "UniRepLK2d",
    "UniRepLK3d",
    "UnpaddedLayer",
    "ViG2d",
    "Where",
    "WindowAttention",
    "WindowCrossAttention",
    "convolve",
    "functional",
    "import_layers",
    "layer_factory",
    "list_layers",
    "merge",
    "novel_kernel",
    "pixel_kernel_conv",
    "propagate",
    "prototype_loss",
    "reduce_tokens",
    "register_layer",
    "replace_depthwise",
    "replace_layers",
    "set_rate",
    "share_kernels",
    "token_graph",
]
