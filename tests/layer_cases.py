"""The layers of the robustness tests, on maps and on tokens."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from convnn import nn as cnn


@dataclass(frozen=True)
class LayerCase:
    """A layer with 3 input and 4 output channels, and a map for it; the stride is that of its settings."""

    name: str
    build: Callable[..., nn.Module]
    size: tuple[int, ...]
    stride: int | tuple[int, ...] = 1

    @property
    def output_size(self) -> tuple[int, ...]:
        strides = self.stride if isinstance(self.stride, tuple) else (self.stride,) * len(self.size)
        return tuple(-(-n // stride) for n, stride in zip(self.size, strides, strict=True))

    def layer(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.build(3, 4).eval()

    def input(self, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randn(batch, 3, *self.size, generator=generator).to(dtype)

    def resized(self, size: tuple[int, ...]) -> "LayerCase":
        return replace(self, size=size)


def _map_case(name: str, layer: Callable[..., nn.Module], size: tuple[int, ...], **settings: object) -> LayerCase:
    return LayerCase(name, lambda i, o: layer(i, o, **settings), size, settings.get("stride", 1))


RANDOM = {"sampling_type": "random", "num_samples": 10}
SMALL = {"no_hidden": 4, "mask_init_value": 0.3}
SPATIAL = {"sampling_type": "spatial", "num_samples": 3}
BOTH = {"similarity_type": "Loc_Col", "aggregation_type": "Loc_Col"}
WINDOW = {"similarity_type": "Window"}
BA = {"shuffle_pattern": "BA", "shuffle_scale": 2}

MAP_CASES = [
    _map_case("convnn1d", cnn.ConvNN1d, (12,), K=5),
    _map_case("convnn1d-random", cnn.ConvNN1d, (14,), K=5, **RANDOM),
    _map_case("convnn2d", cnn.ConvNN2d, (6, 4)),
    _map_case("convnn2d-random", cnn.ConvNN2d, (6, 4), K=5, **RANDOM),
    _map_case("convnn2d-spatial", cnn.ConvNN2d, (6, 4), K=5, **SPATIAL),
    _map_case("convnn2d-loc", cnn.ConvNN2d, (6, 4), similarity_type="Loc", metric="euclidean"),
    _map_case("convnn2d-loc-col", cnn.ConvNN2d, (6, 4), K=4, padding=0, metric="euclidean", **BOTH),
    _map_case("convnn2d-shuffle", cnn.ConvNN2d, (6, 4), K=4, **BA),
    _map_case("convnn2d-strided", cnn.ConvNN2d, (6, 4), K=5, stride=2, padding_mode="reflect"),
    _map_case("convnn2d-dilated", cnn.ConvNN2d, (6, 4), window_size=3, padding=2, dilation=2, stride=(2, 1), **WINDOW),
    _map_case("convnn3d", cnn.ConvNN3d, (4, 2, 4), K=5),
    _map_case("convnn3d-spatial-shuffle", cnn.ConvNN3d, (4, 6, 4), K=3, sampling_type="spatial", num_samples=2, **BA),
    _map_case("convnn-pos1d", cnn.ConvNNPos1d, (12,), prefer="like"),
    _map_case("convnn-pos2d", cnn.ConvNNPos2d, (6, 4)),
    _map_case("convnn-pos2d-choosing", cnn.ConvNNPos2d, (6, 4), choosing=1),
    _map_case("convnn-pos2d-strided", cnn.ConvNNPos2d, (6, 4), stride=2, padding=1, reach=2, metric="euclidean"),
    _map_case("convnn-pos2d-shuffle", cnn.ConvNNPos2d, (6, 4), aggregation_type="Loc_Col", **BA),
    _map_case("convnn-pos3d", cnn.ConvNNPos3d, (4, 2, 4)),
    _map_case("attention1d", cnn.ConvNNAttn1d, (12,), K=5),
    _map_case("attention2d", cnn.ConvNNAttn2d, (6, 4)),
    _map_case("attention2d-random", cnn.ConvNNAttn2d, (6, 4), K=5, metric="euclidean", **RANDOM),
    _map_case("attention2d-spatial", cnn.ConvNNAttn2d, (6, 4), K=5, **SPATIAL),
    _map_case("attention2d-shuffle", cnn.ConvNNAttn2d, (6, 4), K=4, aggregation_type="Loc_Col", **BA),
    _map_case("attention2d-strided", cnn.ConvNNAttn2d, (6, 4), K=5, stride=2, padding_mode="replicate"),
    _map_case("branching1d", cnn.Branching1d, (12,)),
    _map_case("branching2d", cnn.Branching2d.with_convnn, (6, 4), K=5, aggregation_type="Loc_Col"),
    _map_case("branching2d-shuffle", cnn.Branching2d.with_convnn, (6, 4), K=4, **BA),
    _map_case("branching2d-attention", cnn.Branching2d.with_attention, (6, 4), K=5),
    _map_case("branching2d-strided", cnn.Branching2d.with_convnn, (6, 4), K=5, stride=2),
    _map_case("branching2d-conv-only", cnn.Branching2d, (6, 4), branch_ratio=0),
    _map_case("conv1d-new", cnn.Conv1dNew, (12,), aggregation_type="Loc_Col"),
    _map_case("conv2d-new", cnn.Conv2dNew, (6, 4)),
    _map_case("conv2d-new-strided", cnn.Conv2dNew, (6, 4), stride=2, padding=1, padding_mode="circular"),
    _map_case("conv2d-new-shuffle", cnn.Conv2dNew, (6, 4), aggregation_type="Loc_Col", **BA),
    _map_case("vig", cnn.ViG2d, (6, 4), K=5),
    _map_case("vig-dilated-cells", cnn.ViG2d, (6, 4), K=2, graph_dilation=2, reduction=2),
    _map_case("vig-strided", cnn.ViG2d, (6, 4), K=5, stride=2),
    _map_case("vig-encoded", cnn.ViG2d, (6, 4), K=5, positional_size=5),
    _map_case("edge-conv", cnn.EdgeConv2d, (6, 4), K=5),
    _map_case("edge-conv-mlp", cnn.EdgeConv2d, (6, 4), K=5, mlp_layers=2, stride=(1, 2)),
    _map_case("svga", cnn.SVGA2d, (6, 4), step=2),
    _map_case("mgc", cnn.MGC2d, (6, 4), step=2, positional_size=3),
    _map_case("dagc", cnn.DAGC2d, (6, 4), step=1, stride=2),
    _map_case("neighborhood2d", cnn.NeighborhoodAttention2d, (6, 4)),
    _map_case("neighborhood2d-padded", cnn.NeighborhoodAttention2d, (6, 4), kernel_size=5, head_channels=1, stride=2),
    _map_case("non-local", cnn.NonLocal2d, (6, 4), stride=2),
    _map_case("adaptive", cnn.AdaptiveNeighborhoods2d, (6, 4)),
    _map_case("vig-sage", cnn.ViG2d, (6, 4), K=3, graph_conv="sage", edge_activation="gelu"),
    _map_case("vig-gin", cnn.ViG2d, (6, 4), K=3, graph_conv="gin", stride=2),
    _map_case(
        "edge-conv-of-cells", cnn.EdgeConv2d, (6, 4), K=3, reduction=2, scale_features=True, edge_activation="gelu"
    ),
    _map_case("neighborhood2d-dilated", cnn.NeighborhoodAttention2d, (6, 4), attention_dilation=2, qk_scale=0.5),
    _map_case("adaptive-graph", cnn.AdaptiveNeighborhoods2d, (6, 4), edge_type="edge_conv", degree_type="graph"),
    _map_case("adaptive-added", cnn.AdaptiveNeighborhoods2d, (6, 4), degree_type="scores", keeping="added"),
    _map_case("adaptive-max", cnn.AdaptiveNeighborhoods2d, (6, 4), edge_type="pair", pooling="max", stride=2),
    _map_case("replk", cnn.RepLK2d, (6, 4), kernel_size=7),
    _map_case("replk1d-alone", cnn.RepLK1d, (12,), kernel_size=9, small_kernel=0, stride=2),
    _map_case("unireplk", cnn.UniRepLK2d, (6, 4), stride=2),
    _map_case("unireplk3d", cnn.UniRepLK3d, (4, 2, 4), kernel_size=5),
    _map_case("inception-dw", cnn.InceptionDW2d, (6, 4), branch_ratio=0.25),
    _map_case("multi-kernel", cnn.MultiKernelDW2d, (6, 4)),
    _map_case("multi-kernel1d", cnn.MultiKernelDW1d, (12,), dw_parallel=False, add=False, activation="prelu"),
    _map_case("multi-kernel3d", cnn.MultiKernelDW3d, (4, 2, 4), kernel_sizes="1,3", stride=2),
    _map_case("shiftwise", cnn.ShiftWise2d, (6, 4), big_kernel=7),
    _map_case(
        "shiftwise-bare",
        cnn.ShiftWise2d,
        (6, 4),
        big_kernel=8,
        band_norm=False,
        ghost_ratio=0.0,
        stride=2,
        sparsity=0.3,
    ),
    _map_case("lka", cnn.LKA2d, (6, 4)),
    _map_case("lka1d", cnn.LKA1d, (12,), kernel_size=7, kernel_dilation=2, stride=2),
    _map_case("lka3d", cnn.LKA3d, (4, 2, 4), kernel_size=5, kernel_dilation=2),
    _map_case("lsk", cnn.LSK2d, (6, 4)),
    _map_case("lsk1d", cnn.LSK1d, (12,), stride=2),
    _map_case("recconv", cnn.RecConv2d, (6, 4)),
    _map_case("recconv1d", cnn.RecConv1d, (12,), level=1, kernel_bias=True),
    _map_case("recconv3d-nearest", cnn.RecConv3d, (4, 2, 4), kernel_size=3, upsampling="nearest", stride=2),
    _map_case("sdlska", cnn.SDLSKA2d, (6, 4), kernel_size=7),
    _map_case("super-kernel", cnn.SuperKernel2d, (6, 4), k_conv="1,5", stride=2),
    _map_case("super-kernel1d", cnn.SuperKernel1d, (12,)),
    _map_case("lkca", cnn.LKCA2d, (6, 4), kernel_size=(11, 7)),
    _map_case("lkca1d-shared", cnn.LKCA1d, (12,), kernels=1, kernel_bias=False, stride=2),
    _map_case("condconv", cnn.CondConv2d, (6, 4), stride=2, padding="same"),
    _map_case("condconv1d", cnn.CondConv1d, (12,), experts=2, padding_mode="reflect"),
    _map_case("fdconv", cnn.FDConv2d, (6, 4), plain_up_to=0),
    _map_case("fdconv-plain", cnn.FDConv2d, (6, 4), stride=(1, 2)),
    _map_case("kan-spline", cnn.KANConv2d, (6, 4)),
    _map_case("kan-rbf", cnn.KANConv2d, (6, 4), basis="rbf", stride=2, grid_size=4),
    _map_case("kan1d-gram", cnn.KANConv1d, (12,), basis="gram", norm_layer="instance", activate=True),
    _map_case("kan3d-chebyshev", cnn.KANConv3d, (4, 2, 4), basis="chebyshev", bias=True),
    _map_case("kan-relu", cnn.KANConv2d, (6, 4), basis="relu", padding_mode="reflect"),
    _map_case("kan-wavelet", cnn.KANConv2d, (6, 4), basis="wavelet", wavelet_type="meyer", kernel_size=(3, 1)),
    _map_case("lie-conv", cnn.LieConv2d, (6, 4), num_gsamples=3, kernel_hidden=8),
    _map_case("lie-conv-gl2", cnn.LieConv2d, (6, 4), lie_group="gl2", num_gsamples=2, group_pool="mean", stride=2),
    _map_case("ckconv", cnn.CKConv2d, (6, 4), horizon=5, no_hidden=4),
    _map_case("ckconv1d-causal", cnn.CKConv1d, (12,), horizon="same", causal=True, weight_norm=True, use_fft="always"),
    _map_case("smpconv", cnn.SMPConv2d, (6, 4), horizon=5, n_points=4),
    _map_case("smpconv1d-causal", cnn.SMPConv1d, (12,), horizon="same", causal=True, radius=0.3),
    _map_case("flexconv", cnn.FlexConv2d, (6, 4), horizon=7, **SMALL),
    _map_case("flexconv1d-causal", cnn.FlexConv1d, (12,), horizon="same", causal=True, mask_init_value=0.3),
    _map_case("ccnn", cnn.CCNNConv2d, (6, 4), horizon=7, omega_0=30.0, **SMALL, stride=2),
    _map_case(
        "ccnn3d", cnn.CCNNConv3d, (4, 2, 4), horizon=5, omega_0=30.0, no_hidden=4, mask_init_value=0.5, use_fft="always"
    ),
    _map_case("sgconv", cnn.SGConv2d, (6, 4), l_max=24, kernel_dim=4),
    _map_case("sgconv1d-causal", cnn.SGConv1d, (12,), l_max=12, kernel_dim=3, bidirectional=False, stride=2),
    _map_case("longconv", cnn.LongConv2d, (6, 4), l_max=24),
    _map_case("longconv1d", cnn.LongConv1d, (12,), l_max=12, ma_window_len=3, use_fft="butterfly"),
    _map_case("ckconv3d", cnn.CKConv3d, (4, 2, 4), horizon=3, stride=2),
    _map_case("adaptive-difference", cnn.AdaptiveNeighborhoods2d, (6, 4), kernel_size=5, edge_type="difference"),
]


@dataclass(frozen=True)
class TokenCase:
    """A layer of width 12, and sequences for it."""

    name: str
    build: Callable[..., nn.Module]

    def layer(self, seed: int = 0, **settings: object) -> nn.Module:
        torch.manual_seed(seed)
        return self.build(**settings).eval()

    def input(self, batch: int = 2, length: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randn(batch, length, 12, generator=generator).to(dtype)


def _token_case(name: str, layer: Callable[..., nn.Module], **settings: object) -> TokenCase:
    return TokenCase(name, lambda **more: layer(12, 3, **settings, **more))


RANDOM_TOKENS = {"sampling_type": "random", "num_samples": 6}
SPATIAL_TOKENS = {"sampling_type": "spatial", "num_samples": 6}
EUCLIDEAN_RAW = {"metric": "euclidean", "softmax_topk_val": False}
LOCAL = {"sparse_mode": "local", "sparse_context_window": 4}
STRIDED = {"sparse_mode": "strided", "sparse_context_window": 5}

TOKEN_CASES = [
    _token_case("dense", cnn.Attention),
    _token_case("kvt", cnn.KvtAttention, K=4),
    _token_case("convnn", cnn.ConvNNAttention, K=4),
    _token_case("convnn-coordinates", cnn.ConvNNAttention, K=4, metric="cosine", coordinate_encoding=True),
    _token_case("convnn-standard", cnn.ConvNNAttention, K=4, convolution_type="standard", coordinate_encoding=True),
    _token_case("convnn-raw", cnn.ConvNNAttention, K=4, convolution_type="depthwise-separable", **EUCLIDEAN_RAW),
    _token_case("convnn-random", cnn.ConvNNAttention, K=4, **RANDOM_TOKENS),
    _token_case("convnn-spatial", cnn.ConvNNAttention, K=4, **SPATIAL_TOKENS),
    _token_case("window", cnn.NeighborhoodAttention, K=4),
    _token_case("grid", cnn.NeighborhoodAttention, K=(3, 2)),
    _token_case("local", cnn.LocalAttention, window_size=3, head_width=8),
    _token_case("sparse-all", cnn.SparseAttention),
    _token_case("sparse-local", cnn.SparseAttention, **LOCAL),
    _token_case("sparse-strided", cnn.SparseAttention, **STRIDED),
    _token_case("blocks", cnn.BlockSparseAttention, block=(4, 3), keep=0.5),
    _token_case("blocks-special", cnn.BlockSparseAttention, block=(4, 3), keep=0.0, mass=0.5, special_tokens=2),
    _token_case("offsets", cnn.LKCAttention, kernel_size=5),
    _token_case("context", cnn.GlobalContext, window_side=2),
    _token_case("context-local-padded", cnn.GlobalContext, window_side=3, scope="local"),
    _token_case("conv", cnn.MultiheadConv, kernel_size=3),
    _token_case("branch-conv", cnn.BranchConv, kernel_size=3, K=4),
    _token_case("branch-attention", cnn.BranchAttention, branch_ratio=0.25, K=4, **RANDOM_TOKENS),
    _token_case("scan", cnn.VRWKV),
]
