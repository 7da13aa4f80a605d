"""The layers of other papers against numbers of their published code, outputs and all gradients, in float64."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.models.mobilevig import FeedForward, GraphBlock
from convnn.ops import Neighbors, weigh
from golden_files import HERE, Golden, check_golden, read_golden

PATHS = {path.stem: path for path in sorted((HERE / "relatives").glob("*.safetensors"))}
"""The copy is complete but for parameters that take no part."""


def _golden(stem: str) -> Golden:
    return read_golden(PATHS[stem])


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{name}": f"{ours}.{name}" for name in ("weight", "bias", "running_mean", "running_var")}


def _linear(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{name}": f"{ours}.{name}" for name in ("weight", "bias")}


def _conv_norm(theirs: str, ours: str) -> dict[str, str]:
    return _linear(f"{theirs}.0", f"{ours}.0") | _norm(f"{theirs}.1", f"{ours}.1")


def _check(layer: nn.Module, golden: Golden, names: dict[str, str], shape: Callable[[str, Tensor], Tensor]) -> None:
    """Published names by ours, and their weights in our shapes."""
    layer.double().eval()
    buffers = dict(layer.named_buffers())
    for theirs, value in golden.named("buffer").items():
        buffers[names[theirs]].copy_(value)
    values, gradients = (
        {names[theirs]: shape(names[theirs], value) for theirs, value in golden.named(kind).items()}
        for kind in ("param", "grad")
    )
    check_golden(layer, golden, values, gradients)


def _as_it_is(_: str, value: Tensor) -> Tensor:
    return value


def _concatenated(name: str, value: Tensor) -> Tensor:
    """Weights of [x, m], (C_out, 2 C, 1, 1), as (C_out, 2, C)."""
    return value.reshape(len(value), 2, -1) if name.endswith("layer.weight") else value


def _blocks(weight: Tensor, groups: int) -> Tensor:
    """The weights (C_out, C / groups, ...) of a grouped convolution as one matrix (C_out, C), zeros between groups."""
    return torch.block_diag(*weight.flatten(1).chunk(groups))


def _as_matrix(layer: nn.Module, groups: int, arrange: Callable[[Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    """Published groups cut through pairs [x_c, m_c], or part x from m: here they are blocks of one matrix."""
    inside = arrange(_blocks(torch.ones(layer.out_channels, 2 * layer.in_channels // groups), groups))
    layer.weight = nn.Parameter(layer.weight.double())
    layer.weight.register_hook(lambda gradient: gradient * inside)  # between the blocks there is nothing to learn
    return lambda name, value: arrange(_blocks(value, groups)) if value.dim() == 4 and "layer" in name else value


def _one_behind_the_other(weight: Tensor) -> Tensor:
    """Weights of [x, m], (C_out, 2 C), as (C_out, 2, C)."""
    return weight.unflatten(1, (2, -1))


def _interleaved(weight: Tensor) -> Tensor:
    """Weights of [x_0, m_0, x_1, m_1, ...], (C_out, 2 C), as (C_out, 2, C)."""
    return weight.unflatten(1, (-1, 2)).mT


GRAPHER = _conv_norm("fc1", "before") | _conv_norm("fc2", "after")
AXIAL = (
    GRAPHER | _linear("graph_conv.nn.0", "layer") | _norm("graph_conv.nn.1", "norm") | _linear("cpe.pe", "positional")
)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize("stem", [stem for stem in PATHS if stem.startswith("vig") and "edge" not in stem])
def test_vig(stem: str) -> None:
    golden = _golden(stem)
    config = golden.config
    settings = {"K": config["kernel_size"], "graph_dilation": config["dilation"], "reduction": config["r"]}
    grapher = cnn.Grapher2d(config["in_channels"], partial(cnn.ViG2d, **settings), expansion=2)
    names = GRAPHER | _linear("graph_conv.gconv.nn.0", "layer") | _norm("graph_conv.gconv.nn.1", "norm")
    names = {theirs: f"0.{ours}" for theirs, ours in names.items()}
    _check(Residual(grapher), golden, names, _as_matrix(grapher.layer, 4, _interleaved))
    inside = grapher.before(golden.tensors["input"])
    field = grapher.layer.field(inside)
    chosen = grapher.layer.select(field, grapher.layer.cells(field)).indices
    torch.testing.assert_close(chosen, golden.tensors["neighbour_index"].long(), rtol=0, atol=0)


def test_edge_conv() -> None:
    golden = _golden("vig-grapher_3-edge")
    channels = golden.config["in_channels"]
    edge = cnn.EdgeConv2d(channels, 2 * channels, golden.config["kernel_size"])
    scaled = cnn.ViG2d(channels, channels, K=golden.config["kernel_size"])  # it searches scaled features there
    edge._neighbors = scaled._neighbors
    grapher = cnn.Grapher2d(channels, lambda *_: edge, expansion=2)
    grapher.norm = grapher.activation = nn.Identity()  # both stand within the maximum, or not at all
    names = {theirs: f"0.{ours}" for theirs, ours in (GRAPHER | _linear("graph_conv.gconv.nn.0", "layer")).items()}
    _check(Residual(grapher), golden, names, _as_matrix(edge, 4, _one_behind_the_other))


@pytest.mark.parametrize(
    ("stem", "layer", "expansion"),
    [
        ("mobilevigv2_2-grapher", cnn.MGC2d, 1),
        ("mobilevigv2_4-svga-v1-grapher", cnn.SVGA2d, 2),
        ("greedyvig_2-grapher", cnn.DAGC2d, 1),
    ],
)
def test_axial_grapher(stem: str, layer: type, expansion: int) -> None:
    golden = _golden(stem)
    graph = partial(layer, step=golden.config["K"], positional_size=0)
    is_first = layer is cnn.SVGA2d
    grapher = cnn.Grapher2d(
        golden.config["in_channels"], graph, expansion=expansion, positional_size=0 if is_first else 7
    )
    names = {theirs: f"0.{ours}" for theirs, ours in AXIAL.items()}
    whole = Residual(grapher) if is_first else nn.Sequential(grapher)
    _check(whole, golden, names, _concatenated)
    if "edges" in golden.tensors:
        inside = grapher.before(grapher.positional(golden.tensors["input"]))
        _check_edges(grapher.layer, inside, golden)


@pytest.mark.parametrize(("stem", "layer"), [("mobilevigv2_1-mrconv", cnn.MGC2d), ("greedyvig_1-dagc-op", cnn.DAGC2d)])
def test_axial_operator(stem: str, layer: type) -> None:
    golden = _golden(stem)
    inputs, outputs = golden.config["in_channels"] // 2, golden.config["out_channels"]
    graph = layer(inputs, outputs, golden.config["K"], positional_size=0)
    whole = nn.Sequential()
    whole.add_module("layer", graph)
    whole.add_module("norm", nn.BatchNorm2d(outputs))
    whole.add_module("activation", nn.GELU())
    _check(whole, golden, _linear("nn.0", "layer") | _norm("nn.1", "norm"), _concatenated)
    if "edges" in golden.tensors:
        _check_edges(graph, golden.tensors["input"], golden)


def _check_edges(graph: nn.Module, x: Tensor, golden: Golden) -> None:
    """The neighbours that are kept are the published ones, itself set aside."""
    indices, _, absent = graph.neighbors(x)
    edges = golden.tensors["edges"]
    found = torch.zeros(edges.shape, dtype=torch.bool).scatter_(2, indices, ~absent)
    itself = torch.eye(edges.shape[-1], dtype=torch.bool)
    torch.testing.assert_close(found & ~itself, edges & ~itself, rtol=0, atol=0)


@pytest.mark.parametrize(("stem", "layer"), [("mobilevigv2_3-mgc-block", cnn.MGC2d), ("greedyvig_3-block", cnn.DAGC2d)])
def test_axial_block(stem: str, layer: type) -> None:
    golden = _golden(stem)
    block = GraphBlock(golden.config["in_dim"], partial(layer, step=golden.config["K"], positional_size=0))
    names = {f"mixer.{theirs}": f"mixer.{ours}" for theirs, ours in AXIAL.items()}
    names |= _linear("ffn.0", "ffn.0") | _norm("ffn.1", "ffn.1") | _linear("ffn.3", "ffn.3") | _norm("ffn.4", "ffn.4")
    names |= {"layer_scale_1": "mixer_scale", "layer_scale_2": "ffn_scale"}
    assert isinstance(block.ffn, FeedForward)
    _check(block, golden, names, _concatenated)


@pytest.mark.parametrize("stem", ["tcsr_1", "tcsr_2", "tcsr_3-norpb"])
def test_neighborhood_attention(stem: str) -> None:
    golden = _golden(stem)
    config = golden.config
    assert config["bias"] or not config["qkv_bias"]
    layer = cnn.NeighborhoodAttention2d(
        config["dim"],
        config["dim"],
        config["kernel_size"],
        head_channels=config["dim"] // config["num_heads"],
        relative_bias=config["bias"],
    )
    if not config["qkv_bias"]:
        layer.qkv.register_parameter("bias", None)  # one flag of ours is two of theirs
    names = {"rpb": "relative_bias"} | _linear("qkv", "qkv") | _linear("proj", "output")
    _check(layer, golden, names, _as_it_is)
    expected = golden.tensors["neighbour_index"].long().expand(2 * config["num_heads"], -1, -1)
    torch.testing.assert_close(layer.neighbors(golden.tensors["input"]).indices, expected, rtol=0, atol=0)


def test_spatial_shift() -> None:
    golden = _golden("tcsr_4-shift8")
    _check(cnn.SpatialShift2d(16), golden, {}, _as_it_is)


class SoftAdjacency(nn.Module):
    """A learned graph on nodes (N, C), dense as published: (N, N)."""

    def __init__(self, golden: Golden) -> None:
        super().__init__()
        self.adjacency = golden.tensors["adjacency"]
        config = golden.config
        args = config.get("args", {"dgg_mode_edge_net": "difference", "dgg_mode_k_net": "sum"})
        kinds = {"u-v-deg": "pair", "u-v-dist": "distance", "difference": "difference"}
        self.edges = cnn.EdgeRanker(config["in_dim"], config["latent_dim"], kinds[args["dgg_mode_edge_net"]])
        self.by = args["dgg_mode_k_net"]
        if self.by == "sum":
            self.degree: nn.Module = nn.Linear(1, 1)
        else:
            channels = config["in_dim"] if self.by == "x" else 0
            self.degree = cnn.DegreeEstimator(channels, config["latent_dim"])
        self.of_data = args.get("deg_mean"), args.get("deg_std")

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        everybody = torch.arange(count).expand(1, count, count)
        neighbors = Neighbors(everybody, absent=self.adjacency[None] == 0)
        degrees = self.adjacency.sum(-1)[None]
        ranked = self.edges(x[None], torch.arange(count), neighbors, degrees)
        ranked = ranked._replace(scores=ranked.scores.masked_fill(neighbors.absent, 0))
        kept = weigh.soft_top(ranked, self.wishes(x[None], ranked.scores, degrees))
        soft = torch.zeros(count, count, dtype=x.dtype).scatter(1, kept.indices[0], kept.scores[0])
        return soft + ranked.scores[0] if self.by == "sum" else soft

    def wishes(self, x: Tensor, scores: Tensor, degrees: Tensor) -> Tensor:
        if self.by == "sum":
            return nn.functional.leaky_relu(self.degree(scores.sum(-1, keepdim=True))).squeeze(-1)
        mean, deviation = self.of_data if self.by == "input_deg" else (degrees.mean(), degrees.std())
        return self.degree(x, degrees, mean, deviation)


@pytest.mark.parametrize("stem", [stem for stem in PATHS if stem.startswith("adaptive")])
def test_adaptive_neighborhoods(stem: str) -> None:
    golden = _golden(stem)
    names = _linear("m.node_encode_for_edges.0", "edges.encode") | _linear("m.node_encoder.0", "edges.encode")
    names |= _linear("m.edge_encode.0", "edges.edge") | _linear("m.edge_encoder.0", "edges.edge")
    names |= _linear("m.edge_encode.2", "edges.score") | _linear("m.degree_decoder.0", "degree")
    names |= _linear("m.node_encode_for_k.0", "degree.encode") | _linear("m.k_embed.0", "degree.hidden")
    names |= _linear("m.input_degree_project", "degree.hidden")
    names |= _linear("m.k_net.k_mu", "degree.mean") | _linear("m.k_net.k_project", "degree.project")
    _check(SoftAdjacency(golden), golden, names, _as_it_is)


def test_every_file_is_tested(request: pytest.FixtureRequest) -> None:
    assert len(PATHS) == 18
