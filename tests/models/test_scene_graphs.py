"""The denoiser of scene graphs, against a second implementation by torchvision's windows, cell by cell elsewhere."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import shifted_window_attention

from convnn.errors import InputError
from convnn.models.scene_graphs import EDMPrecond, SceneGraphDenoiser
from convnn.ops.dense_graphs import DenseGraphs

SMALL = {"dim": 8, "depths": (2, 1), "heads": (2, 4), "window": 2, "mlp_ratio": 2, "noise_channels": 8}


def _network(max_nodes: int = 8, **settings: object) -> SceneGraphDenoiser:
    torch.manual_seed(0)
    network = SceneGraphDenoiser(max_nodes, 2, 5, **SMALL | settings).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def _input(max_nodes: int, seed: int = 0) -> tuple[DenseGraphs, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    settings = {"generator": generator, "dtype": torch.float64}
    graphs = DenseGraphs(torch.randn(2, 2, max_nodes, max_nodes, **settings), torch.randn(2, max_nodes, 5, **settings))
    flags = torch.arange(max_nodes) < torch.tensor([[max_nodes], [max_nodes - 1]])
    return graphs.masked(flags), flags, torch.tensor([-0.3, 0.4], dtype=torch.float64)


def _again(network: SceneGraphDenoiser, graphs: DenseGraphs, flags: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the definition with the network's weights, but none of its code."""
    named, window = dict(network.named_parameters()), SMALL["window"]

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, named[f"{name}.weight"], named.get(f"{name}.bias"))

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], named[f"{name}.weight"], named[f"{name}.bias"])

    def film(name: str, x: Tensor) -> Tensor:
        a, b = linear(f"{name}.affine", emb).view(2, 1, 1, -1).chunk(2, -1)
        return F.silu(x * (a + 1) + b)

    def mlp(name: str, x: Tensor) -> Tensor:
        return linear(f"{name}.fc2", F.gelu(linear(f"{name}.fc1", x)))

    def block(name: str, x: Tensor, heads: int, shift: int) -> Tensor:
        x, side = film(f"{name}.film", x), min(window, x.shape[1])
        places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        down, right = (places[:, None] - places + side - 1).unbind(-1)
        at = f"{name}.attention"
        weights = [named[f"{at}.qkv.weight"], named[f"{at}.output.weight"]]
        bias = named[f"{at}.relative_bias"][:, down, right].unsqueeze(0)
        biases = {"qkv_bias": named[f"{at}.qkv.bias"], "proj_bias": named[f"{at}.output.bias"]}
        x = x + shifted_window_attention(
            norm(f"{name}.norm1", x), *weights, bias, [side] * 2, heads, [shift] * 2, **biases
        )
        return x + mlp(f"{name}.mlp", norm(f"{name}.norm2", x))

    def quarters(x: Tensor) -> list[Tensor]:
        return [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]

    speeds = torch.tensor([10000 ** (-k / 4) for k in range(4)], dtype=torch.float64)
    angles = torch.outer(noise, speeds)
    emb = F.silu(linear("noise.second", F.silu(linear("noise.first", torch.cat([angles.cos(), angles.sin()], 1)))))
    n = flags.shape[1]
    cells = torch.zeros(2, n, n, 12, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            both = (flags[:, i] & flags[:, j]).double().unsqueeze(1)
            parts = [graphs.adjacency[:, :, i, j], graphs.nodes[:, i] * both, graphs.nodes[:, j] * both]
            cells[:, i, j] = torch.cat(parts, 1)
    h = F.conv2d(cells.permute(0, 3, 1, 2), named["embed.weight"], named["embed.bias"], network.embed.stride)
    h = film("embed_film", norm("embed_norm", h.permute(0, 2, 3, 1)))
    shift = window // 2
    h = block("down.0.blocks.1", block("down.0.blocks.0", h, 2, 0), 2, shift if h.shape[1] > window else 0)
    skip = h = linear("down.0.resample.reduce", norm("down.0.resample.norm", torch.cat(quarters(h), -1)))
    h = block("up.0.blocks.0", block("down.1.blocks.0", h, 4, 0), 4, 0)
    mixed = norm("up.1.resample.norm", linear("up.1.resample.mix", torch.cat([h, skip], -1)))
    h = torch.zeros(2, 2 * h.shape[1], 2 * h.shape[1], 8, dtype=torch.float64)
    for part, (row, column) in zip(mixed.chunk(4, -1), ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
        h[:, row::2, column::2] = part
    h = linear("up.1.resample.output", norm("up.1.resample.post_norm", h))
    h = block("up.1.blocks.1", block("up.1.blocks.0", h, 2, 0), 2, shift if h.shape[1] > window else 0)
    h = norm("norm", h).permute(0, 3, 1, 2)
    h = F.conv_transpose2d(h, named["readout.0.weight"], named["readout.0.bias"], network.embed.stride)
    for i in (1, 2):
        h = F.conv2d(h, named[f"readout.{i}.weight"], named[f"readout.{i}.bias"])
    h = h.permute(0, 2, 3, 1)
    there = (flags[:, :, None] * flags[:, None]).unsqueeze(-1)
    nodes = mlp("node_head", (h * there).sum(2) / n) * flags.unsqueeze(-1)
    return (mlp("edge_head", h) * there).permute(0, 3, 1, 2), nodes


@pytest.mark.parametrize(("max_nodes", "patch"), [(8, 1), (4, 1), (8, 2)])
def test_outputs_and_gradients_are_those_of_a_second_implementation(max_nodes: int, patch: int) -> None:
    network = _network(max_nodes, patch=patch)
    graphs, flags, noise = _input(max_nodes)
    leaves = [*(part.requires_grad_() for part in graphs), *network.parameters()]
    ours, theirs = network(graphs, flags, noise), _again(network, graphs, flags, noise)
    upstream = [torch.randn_like(part) for part in ours]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad(out, leaves, upstream) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_a_condition_of_zeros_is_none_and_another_is_read() -> None:
    network, (graphs, flags, noise) = _network(self_condition=True), _input(8)
    blank = DenseGraphs(*(torch.zeros_like(part) for part in graphs))
    without, with_zeros, with_one = (network(graphs, flags, noise, one) for one in (None, blank, graphs))
    torch.testing.assert_close(without, with_zeros, rtol=0, atol=0)
    assert (without.nodes - with_one.nodes).abs().max() > 1e-6
    assert with_one.nodes[1, -1].eq(0).all()
    assert with_one.adjacency[1, :, -1].eq(0).all()


def test_preconditioning_passes_graphs_almost_without_noise() -> None:
    network, (graphs, flags, _) = EDMPrecond(_network()), _input(8)
    found = network(graphs, flags, torch.full((2,), 1e-9, dtype=torch.float64))
    torch.testing.assert_close(found, graphs, rtol=0, atol=1e-7)


def test_the_first_weights_are_small() -> None:
    torch.manual_seed(0)
    network = SceneGraphDenoiser(8, 2, 5, **SMALL)
    assert network.down[0].blocks[0].mlp.fc1.weight.detach().std() == pytest.approx(0.02, rel=0.2)
    assert network.noise.first.bias.eq(0).all()


def _build(**settings: object) -> SceneGraphDenoiser:
    return SceneGraphDenoiser(**{"max_nodes": 8, "edge_channels": 2, "node_channels": 5, **SMALL, **settings})


def _call(**changes: object) -> DenseGraphs:
    graphs, flags, noise = _input(8)
    given = {"graphs": graphs, "flags": flags, "noise": noise} | changes
    return _network()(**given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _build(max_nodes=7), "max_nodes=7 must be a multiple of 2, the patch at the last level"),
        (lambda: _build(dim=7), "dim=7 must be even"),
        (lambda: _build(window=3), "window=3 must divide 8, the side of level 0"),
        (lambda: _build(heads=(2, 3)), r"heads\[1\]=3 must divide the 16 channels of its level"),
        (lambda: _build(heads=(2,)), r"depths=\(2, 1\) and heads=\(2,\) must be as many"),
        (lambda: _build(depths=(0, 1)), "depths at least 1"),
        (lambda: _build(patch=0), "patch=0 must be an integer of at least 1"),
        (lambda: _build(mlp_ratio=0), "mlp_ratio=0 must be a positive number"),
        (lambda: _call(flags=torch.ones(2, 8)), r"flags of shape \(2, 8\) and torch.float32 must be \(2, 8\) and bool"),
        (lambda: _call(noise=torch.zeros(3)), r"noise of shape \(3,\) must be \(2,\)"),
        (lambda: _call(graphs=_input(6)[0], flags=_input(6)[1]), r"must be \(B, 2, 8, 8\) and \(B, 8, 5\)"),
        (lambda: _call(condition=_input(8)[0]), "condition is not read by a network with self_condition=False"),
        (lambda: EDMPrecond(_network(), 0.0), "sigma_data=0.0 must be a positive number"),
        (lambda: EDMPrecond(_network())(*_input(8)), "sigma=-0.3"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
