"""Tests of layers by name."""

import pickle

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError

TYPES = {
    "Conv2d": nn.Conv2d,
    "Conv2d_New": cnn.Conv2dNew,
    "ConvNN": cnn.ConvNN2d,
    "ConvNN_Pos": cnn.ConvNNPos2d,
    "ConvNN_Attn": cnn.ConvNNAttn2d,
    "Branching": cnn.Branching2d,
    "Branching_Attn": cnn.Branching2d,
    "ViG": cnn.ViG2d,
    "EdgeConv": cnn.EdgeConv2d,
    "SVGA": cnn.SVGA2d,
    "MGC": cnn.MGC2d,
    "DAGC": cnn.DAGC2d,
    "NonLocal": cnn.NonLocal2d,
    "AdaptiveNeighborhoods": cnn.AdaptiveNeighborhoods2d,
    "NeighborhoodAttention2d": cnn.NeighborhoodAttention2d,
    "RepLK": cnn.RepLK2d,
    "UniRepLK": cnn.UniRepLK2d,
    "InceptionDW": cnn.InceptionDW2d,
    "MultiKernelDW": cnn.MultiKernelDW2d,
    "ShiftWise": cnn.ShiftWise2d,
    "LKA": cnn.LKA2d,
    "LSK": cnn.LSK2d,
    "RecConv": cnn.RecConv2d,
    "SDLSKA": cnn.SDLSKA2d,
    "SuperKernel": cnn.SuperKernel2d,
    "LKCA": cnn.LKCA2d,
    "KANConv": cnn.KANConv2d,
    "CondConv": cnn.CondConv2d,
    "FDConv": cnn.FDConv2d,
    "LieConv": cnn.LieConv2d,
    "CKConv": cnn.CKConv2d,
    "SMPConv": cnn.SMPConv2d,
    "FlexConv": cnn.FlexConv2d,
    "CCNNConv": cnn.CCNNConv2d,
    "SGConv": cnn.SGConv2d,
    "LongConv": cnn.LongConv2d,
}
TOKEN_TYPES = {
    "Attention": cnn.Attention,
    "ConvNNAttention": cnn.ConvNNAttention,
    "KvtAttention": cnn.KvtAttention,
    "LocalAttention": cnn.LocalAttention,
    "NeighborhoodAttention": cnn.NeighborhoodAttention,
    "SparseAttention": cnn.SparseAttention,
    "BlockSparseAttention": cnn.BlockSparseAttention,
    "LKCAttention": cnn.LKCAttention,
    "BranchConv": cnn.BranchConv,
    "BranchAttention": cnn.BranchAttention,
    "GlobalContext": cnn.GlobalContext,
    "VRWKV": cnn.VRWKV,
}
FLAGS = {  # what the command line passes to every layer
    "K": 5,
    "padding": 2,
    "kernel_size": 5,
    "sampling_type": "spatial",
    "num_samples": 4,
    "sample_padding": 1,
    "metric": "euclidean",
    "similarity_type": "Loc_Col",
    "aggregation_type": "Loc_Col",
    "lambda_param": 0.3,
    "attention_dropout": 0.2,
    "shuffle_pattern": "BA",
    "shuffle_scale": 2,
    "branch_ratio": 0.25,
    "convolution_type": "standard",
    "softmax_topk_val": False,
    "coordinate_encoding": True,
    "sparse_mode": "strided",
    "sparse_context_window": 4,
    "keep": 0.5,
    "mass": 0.3,
    "special_tokens": 1,
    "graph_conv": "sage",
    "graph_dilation": 2,
    "reduction": 2,
    "edge_norm": True,
    "edge_activation": "gelu",
    "scale_features": True,
    "mlp_layers": 2,
    "step": 3,
    "positional_size": 5,
    "head_channels": 1,
    "relative_bias": False,
    "attention_dilation": 2,
    "qk_scale": 0.5,
    "edge_type": "pair",
    "degree_type": "graph",
    "stochastic_degree": True,
    "keeping": "added",
    "pooling": "max",
    "latent_channels": 6,
    "small_kernel": 3,
    "square_kernel_size": 3,
    "band_kernel_size": 5,
    "kernel_dilation": 2,
    "kernel_sizes": "1,3",
    "expansion_factor": 1.5,
    "activation": "gelu",
    "dw_parallel": False,
    "add": False,
    "shortcut": False,
    "level": 1,
    "upsampling": "nearest",
    "kernel_bias": True,
    "k_conv": "1,5",
    "big_kernel": 7,
    "ghost_ratio": 0.0,
    "N_path": 1,
    "N_rep": 2,
    "band_norm": False,
    "sparsity": 0.3,
    "kernels": 1,
    "experts": 2,
    "frequency_groups": 2,
    "basis": "rbf",
    "degree": 2,
    "spline_order": 2,
    "grid_size": 4,
    "grid_range": "-1.5,1",
    "wavelet_type": "dog",
    "base_activation": "relu",
    "norm_layer": "instance",
    "activate": True,
    "lie_group": "gl2",
    "num_gsamples": 3,
    "group_pool": "mean",
    "kernel_hidden": 5,
    "horizon": "5",
    "no_hidden": 4,
    "no_layers": 2,
    "omega_0": 20.0,
    "weight_norm": True,
    "weight_dropout": 0.1,
    "use_fft": "never",
    "n_points": 3,
    "radius": 0.5,
    "coord_std": 0.2,
    "input_scale": 10.0,
    "mask_init_value": 0.5,
    "mask_threshold": 0.2,
    "l_max": 64,
    "kernel_dim": 8,
    "n_scales": 2,
    "decay_min": 1.5,
    "decay_max": 3.0,
    "kernel_mode": "sum_cos",
    "bidirectional": False,
    "lam": 0.002,
    "ma_window_len": 3,
    "smooth_freq": True,
    "weight_init": "double_exp",
}


@pytest.fixture
def _restored():
    before = dict(cnn.LAYERS)
    yield
    cnn.LAYERS.clear()
    cnn.LAYERS.update(before)


def test_names() -> None:
    others = [name for name, entry in cnn.LAYERS.items() if entry.reads in ("graphs", "interactions")]
    others += [*cnn.list_layers("triples"), *cnn.list_layers("mixtures")]
    assert cnn.list_layers() == [*TYPES, *TOKEN_TYPES, *others]
    assert cnn.list_layers("interactions") == ["LightGCN", "UltraGCN", "MF", "LCFN"]
    assert cnn.list_layers("maps") == list(TYPES)
    assert cnn.list_layers("tokens") == list(TOKEN_TYPES)
    assert all(entry.summary for entry in cnn.LAYERS.values())


OF_FEW_SIDES = {"SDLSKA": {"kernel_size": 7}}
"""Layers that do not take every kernel size."""


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("flags", [{}, FLAGS], ids=["defaults", "flags"])
def test_every_layer_takes_every_flag(name: str, flags: dict) -> None:
    factory = cnn.layer_factory(name, **flags | OF_FEW_SIDES.get(name, {}))
    layer = factory(3, 8)
    assert type(layer) is TYPES[name]
    assert layer(torch.randn(2, 3, 12, 16)).shape == (2, 8, 12, 16)
    assert type(pickle.loads(pickle.dumps(factory))(3, 8)) is TYPES[name]


def test_flags_reach_layers_without_padding() -> None:
    vig = cnn.layer_factory("ViG", **FLAGS)(3, 8)
    assert (vig.search.K, vig.search.graph_dilation, vig.search.reduction, vig.graph_conv) == (5, 2, 2, "sage")
    edge = cnn.layer_factory("EdgeConv", **FLAGS)(3, 8)
    assert (len(edge.mlp), edge.search.scale_features, edge.search.reduction) == (2 * (2 - 1), True, 2)
    for modules in (vig.edge[1], edge.norm_activation):
        assert [type(one).__name__ for one in modules] == ["RowNorm", "GELU"]
    assert cnn.layer_factory("EdgeConv", **FLAGS, relative_side=7)(4, 8).search.relative_side == 7
    dagc = cnn.layer_factory("DAGC", **FLAGS)(3, 8)
    assert (dagc.step, dagc.positional.kernel_size) == (3, (5, 5))
    attention = cnn.layer_factory("NeighborhoodAttention2d", **FLAGS)(3, 8)
    assert (attention.kernel_size, attention.heads, attention.relative_bias) == (5, 3, None)
    assert (attention.attention_dilation, attention.qk_scale) == (2, 0.5)
    adaptive = cnn.layer_factory("AdaptiveNeighborhoods", **FLAGS)(3, 8)
    assert (adaptive.kernel_size, adaptive.ranker.edge_type, adaptive.pooling) == (5, "pair", "max")
    assert adaptive.ranker.encode.out_features == 6
    assert (adaptive.degree.degree_type, adaptive.keeping) == ("graph", "added")
    assert adaptive.degree.log_variance is not None


def test_flags_reach_layers_of_kernels() -> None:
    replk = cnn.layer_factory("RepLK", **FLAGS)(3, 8)
    assert (replk.kernel_size, replk.small_kernel) == (5, 3)
    assert cnn.layer_factory("UniRepLK", **FLAGS)(3, 8).kernel_size == 5
    bands = cnn.layer_factory("InceptionDW", **FLAGS)(8, 8).operator
    assert (bands.shares, bands.wide.kernel_size, bands.wide.dilation) == ((2, 2, 2, 2), (1, 5), (2, 2))
    lka = cnn.layer_factory("LKA", **FLAGS)(8, 8).gated
    assert (lka.operator.dilated.kernel_size, lka.operator.dilated.dilation, lka.has_shortcut) == (
        (3, 3),
        (2, 2),
        False,
    )
    rec = cnn.layer_factory("RecConv", **FLAGS)(4, 8).operator
    assert (len(rec.convs), rec.mode, rec.down.kernel_size, rec.down.bias is None) == (2, "nearest", (5, 5), False)
    assert [conv.conv.kernel_size[0] for conv in cnn.layer_factory("SuperKernel", **FLAGS)(4, 8).operator.convs] == [
        1,
        5,
    ]
    shifted = cnn.layer_factory("ShiftWise", **FLAGS)(4, 8).operator
    assert (shifted.weight.shape, shifted.wide.shape, type(shifted.norms[0])) == (
        (1, 4, 3, 3, 3),
        (2, 4, 3),
        nn.Identity,
    )
    offsets = cnn.layer_factory("LKCA", **FLAGS)(4, 8).operator
    assert (offsets.weight.shape, offsets.bias.shape) == ((1, 1, 5, 5), (4,))
    several = cnn.layer_factory("MultiKernelDW", **FLAGS)(4, 8)
    assert (several.kernel_sizes, several.expand.conv.out_channels, several.project) == ((1, 3), 6, None)
    assert (several.operator.add, several.operator.dw_parallel) == (False, False)


def test_what_a_network_decides_goes_before_the_flags() -> None:
    assert cnn.layer_factory("MGC", **FLAGS)(3, 8, step=1, positional_size=0).extra_repr() == "3, 8, step=1"
    assert cnn.layer_factory("ConvNN", **FLAGS)(3, 8, step=1).search.K == 5  # which has no step


@pytest.mark.parametrize("name", TOKEN_TYPES)
@pytest.mark.parametrize("flags", [{}, FLAGS], ids=["defaults", "flags"])
def test_every_layer_on_tokens_takes_every_flag(name: str, flags: dict) -> None:
    factory = cnn.layer_factory(name, **flags)
    layer = factory(24, 3)
    assert type(layer) is TOKEN_TYPES[name]
    assert layer(torch.randn(2, 17, 24)).shape == (2, 17, 24)
    assert type(pickle.loads(pickle.dumps(factory))(24, 3)) is TOKEN_TYPES[name]


def test_flags_reach_their_layer_on_tokens() -> None:
    layer = cnn.layer_factory("BranchConv", **FLAGS)(24, 3)
    assert layer.widths == (6, 18)
    assert layer.partner.weight.shape == (6, 6, 5)
    convnn = layer.convnn
    assert (convnn.search.K, convnn.search.num_samples, convnn.search.metric) == (5, 4, "euclidean")
    assert (convnn.convolution_type, convnn.softmax_topk_val, convnn.coordinate_encoding) == ("standard", False, True)
    assert convnn.attention_dropout == 0.2
    sparse = cnn.layer_factory("SparseAttention", **FLAGS)(24, 3)
    assert (sparse.sparse_mode, sparse.sparse_context_window, sparse.attention_dropout) == ("strided", 4, 0.2)
    blocks = cnn.layer_factory("BlockSparseAttention", **FLAGS)(24, 3)
    assert (blocks.keep, blocks.mass, blocks.special_tokens) == (0.5, 0.3, 1)
    both = cnn.layer_factory("BranchAttention", **FLAGS)(24, 3)
    assert both.convnn.attention_dropout == both.partner.attention_dropout == 0.2


def test_flags_reach_their_layer() -> None:
    layer = cnn.layer_factory("Branching_Attn", **FLAGS)(3, 8)
    assert layer.branch1.out_channels == 2
    assert layer.branch1.attention_dropout == 0.2
    search = layer.branch1.search
    assert (search.K, search.sampling_type, search.num_samples) == (5, "spatial", 4)
    assert layer.branch1.grid.padding == 2
    assert layer.branch2.kernel_size == (5, 5)
    convnn = cnn.layer_factory("ConvNN", **FLAGS)(3, 8)
    assert (convnn.search.similarity_type, convnn.search.lambda_param) == ("Loc_Col", 0.3)
    assert convnn.weight.shape[1] == 3 * 4 + 2


def test_settings_of_an_entry_are_those_it_reads() -> None:
    assert cnn.LAYERS["Conv2d"].settings == {"kernel_size": 3, "depthwise": False}
    assert cnn.LAYERS["ConvNN"].settings["similarity_type"] == "Col"
    assert "attention_dropout" not in cnn.LAYERS["Branching"].settings
    assert cnn.LAYERS["Branching_Attn"].settings["attention_dropout"] == 0.1
    for entry in cnn.LAYERS.values():
        assert not {"in_channels", "out_channels", "device", "dtype", "self"} & set(entry.settings)
    known = {setting for entry in cnn.LAYERS.values() for setting in entry.settings}
    assert set(FLAGS) <= known


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "ConvN",
            {},
            r"^layer='ConvN' is not one of the \d+ layers that convnn layers lists; did you mean 'ConvNN'\?$",
        ),
        (
            "xyz",
            {},
            r"^layer='xyz' is not one of the \d+ layers that convnn layers lists$",
        ),
        ("ConvNN", {"paddin": 1}, r"^setting 'paddin' is unknown; did you mean 'padding'\?$"),
        ("Conv2d", {"zzzzzz": 1}, r"^setting 'zzzzzz' is unknown$"),
    ],
    ids=["layer", "far-layer", "setting", "far-setting"],
)
def test_unknown_names(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cnn.layer_factory(name, **settings)
    assert isinstance(error.value, InputError)


@pytest.mark.parametrize("name", ["ConvNN", "ConvNN_Attn", "Branching", "Branching_Attn"])
def test_a_bad_value_is_refused_when_the_layer_is_built(name: str) -> None:
    with pytest.raises(ValueError, match=r"^K=0 must be an integer of at least 1$"):
        cnn.layer_factory(name, K=0)(3, 8)


def test_kernel_size_is_checked() -> None:
    with pytest.raises(ValueError, match=r"^kernel_size=0 must be an integer of at least 1$"):
        cnn.layer_factory("Conv2d", kernel_size=0)(3, 8)


@pytest.mark.usefixtures("_restored")
def test_registering_a_layer() -> None:
    def pointwise(in_channels: int, out_channels: int, *, gain: float = 2.0) -> nn.Module:
        layer = nn.Conv2d(in_channels, out_channels, 1)
        nn.init.constant_(layer.weight, gain)
        return layer

    cnn.register_layer("Pointwise", pointwise, "one pixel")
    assert cnn.list_layers()[-1] == "Pointwise"
    assert cnn.LAYERS["Pointwise"].settings == {"gain": 2.0}
    assert cnn.layer_factory("Pointwise", gain=3.0, K=4)(1, 1).weight.item() == 3.0
    with pytest.raises(ValueError, match=r"^layer 'Pointwise' is registered already; choose another name$"):
        cnn.register_layer("Pointwise", pointwise, "again")
    with pytest.raises(
        ValueError,
        match=r"^reads='token' is not one of maps, tokens, graphs, .*, mixtures; did you mean 'tokens'\?$",
    ):
        cnn.register_layer("Mean", pointwise, "everybody alike", reads="token")


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("name", cnn.list_layers("maps"))
def test_in_a_network_every_layer_keeps_the_size_of_the_map(name: str, padding: int) -> None:
    settings = {"kernel_size": 5, "padding": padding, "K": 4} | OF_FEW_SIDES.get(name, {})
    layer = cnn.layer_factory(name, **settings)(3, 8)
    assert layer(torch.randn(2, 3, 9, 8)).shape == (2, 8, 9, 8)


@pytest.mark.parametrize("name", cnn.list_layers())
def test_a_class_is_answered_by_the_name_of_its_layer(name: str) -> None:
    """Variants of a name are recognised: the class with its axes, or the flag without its underscore."""
    system = cnn.LAYERS[name].system
    spellings = {name.replace("_", ""), name.lower(), *(path.rpartition(".")[2] for path in system.where.split()[:1])}
    if name == "Branching_Attn":  # the class is that of Branching, which its name says
        spellings -= {"Branching2d"}
    for spelling in spellings - set(cnn.LAYERS):
        with pytest.raises(InputError, match=f"did you mean {name!r}"):
            cnn.layer_factory(spelling)
