"""Layers on tokens, alone and in ViT-Tiny: counted operations, time and memory."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.contestants import step
from benchmarks.layers import near
from convnn.bench.measure import milliseconds, peak_megabytes, ratio
from convnn.models import create_model
from convnn.nn import layer_factory
from convnn.train import summarize

DIM, HEADS = 192, 3


class Tokens(NamedTuple):
    """A batch of square images in patches of 16 pixels, with a class token: T = 1 + (side / 16)^2."""

    batch: int
    side: int

    @property
    def length(self) -> int:
        return 1 + (self.side // 16) ** 2


@dataclass(frozen=True)
class Contestant:
    """A layer by its registered name, or a function that makes it from width and heads."""

    layer: str | Callable[[int, int], nn.Module]
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        torch.manual_seed(0)
        factory = self.layer if callable(self.layer) else layer_factory(self.layer, **self.settings)
        return factory(DIM, HEADS)


class PlainConvNNAttention(nn.Module):
    """The obvious implementation: all scores, topk, a copy of all neighbours, a convolution of stride K."""

    def __init__(self, dim: int, num_heads: int, K: int = 9) -> None:
        super().__init__()
        self.num_heads, self.K, width = num_heads, K, dim // num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.conv = nn.Conv1d(width, width, K, stride=K, groups=width, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1) for one in self._linear())
        scores, indices = (k @ q.mT / q.shape[-1] ** 0.5).topk(self.K)
        heads = torch.arange(len(v), device=v.device)[:, None, None]
        weighted = v[heads, indices] * scores.softmax(-1).unsqueeze(-1)
        out = self.conv(weighted.flatten(1, 2).mT).mT
        return self.output(out.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))

    def _linear(self) -> tuple[nn.Module, ...]:
        return self.query, self.key, self.value


def local_attention_package(dim: int, num_heads: int) -> nn.Module:
    """Return LocalMHA of the package local-attention, with every token valid."""
    from local_attention import LocalMHA

    class Package(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = LocalMHA(dim=dim, window_size=128, dim_head=64, heads=num_heads, dropout=0.1, prenorm=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(x, mask=x.new_ones(x.shape[:2], dtype=torch.bool))

    return Package()


CONTESTANTS = {
    "Attention": Contestant("Attention"),
    "ConvNNAttention, K 9": Contestant("ConvNNAttention"),
    "— cosine": Contestant("ConvNNAttention", {"metric": "cosine"}),
    "— standard kernel": Contestant("ConvNNAttention", {"convolution_type": "standard"}),
    "— random, 32 samples": Contestant("ConvNNAttention", {"sampling_type": "random", "num_samples": 32}),
    "— spatial, 32 samples": Contestant("ConvNNAttention", {"sampling_type": "spatial", "num_samples": 32}),
    "— matmul + topk + gather": Contestant(PlainConvNNAttention),
    "— reference": Contestant("ConvNNAttention", {"backend": "reference"}),
    "KvtAttention, K 9": Contestant("KvtAttention"),
    "NeighborhoodAttention, K 9": Contestant("NeighborhoodAttention"),
    "LocalAttention, w 128": Contestant("LocalAttention"),
    "— package local-attention": Contestant(local_attention_package),
    "SparseAttention, local 49": Contestant("SparseAttention", {"sparse_mode": "local", "sparse_context_window": 49}),
    "SparseAttention, strided 14": Contestant(
        "SparseAttention", {"sparse_mode": "strided", "sparse_context_window": 14}
    ),
    "BranchConv, ratio 0.5": Contestant("BranchConv"),
    "VRWKV": Contestant("VRWKV"),
    "BranchAttention, ratio 0.5": Contestant("BranchAttention"),
    "BlockSparseAttention, 25 %": Contestant("BlockSparseAttention", {"keep": 0.25, "special_tokens": 1}),
}

REDUCED = {
    "Attention, gtp, half left at the end": Contestant("Attention", {"reduce_tokens": "gtp"}),
    "— half left after three blocks": Contestant("Attention", {"reduce_tokens": "gtp", "reduce_within": 3}),
    "— half left after one block": Contestant("Attention", {"reduce_tokens": "gtp", "reduce_within": 1}),
    "— the same, dropped": Contestant("Attention", {"reduce_tokens": "drop", "reduce_within": 1}),
}
"""Attention in a ViT whose tokens become fewer."""


def measure_tokens(tokens: Tokens, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure a layer of every kind: GFLOPs of a forward pass of a sequence, times of a batch, memory of training."""
    forward = milliseconds({name: make_layer_step(name, tokens, False)[1] for name in CONTESTANTS}, repeats)
    training = milliseconds({name: make_layer_step(name, tokens, True)[1] for name in CONTESTANTS}, repeats)
    steady = milliseconds({name: make_layer_step(name, tokens, True, False)[1] for name in CONTESTANTS}, repeats)
    rows = {
        name: {
            "GFLOPs": summarize(one.make(), (tokens.length, DIM)).gflops,
            "forward ms": statistics.median(forward[name]),
            "training ms": statistics.median(training[name]),
            "times Attention": ratio(training, name, "Attention"),
            "without dropout ms": statistics.median(steady[name]),
            "without dropout, times Attention": ratio(steady, name, "Attention"),
            "MB": peak_megabytes(make_layer_step, name, tokens, True) if with_memory else None,
        }
        for name, one in CONTESTANTS.items()
    }
    result = {"tokens": tokens._asdict(), "length": tokens.length, "agrees": _layers_agree(tokens), "rows": rows}
    print(result, flush=True)
    return result


def measure_vits(tokens: Tokens, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure ViT-Tiny with every layer: GFLOPs of an image, time and memory of a training step."""
    names = [name for name, one in CONTESTANTS.items() if isinstance(one.layer, str) and "reference" not in name]
    names += REDUCED
    times = milliseconds({name: make_network_step(name, tokens)[1] for name in names}, repeats)
    rows = {
        name: {
            "GFLOPs": summarize(_network(name), (3, tokens.side, tokens.side)).gflops,
            "training ms": statistics.median(times[name]),
            "times Attention": ratio(times, name, "Attention"),
            "MB": peak_megabytes(make_network_step, name, tokens) if with_memory else None,
        }
        for name in names
    }
    result = {"tokens": tokens._asdict(), "length": tokens.length, "rows": rows}
    print(result, flush=True)
    return result


def make_layer_step(
    name: str, tokens: Tokens, training: bool, dropout: bool = True
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a step on a short sequence and one on the tokens."""
    layer = CONTESTANTS[name].make().train(training and dropout)
    steps = []
    for batch, length in ((1, 65), (tokens.batch, tokens.length)):
        x = torch.randn(batch, length, DIM).requires_grad_(training)
        steps.append(partial(step, layer, x, training))
    return steps[0], steps[1]


def make_network_step(name: str, tokens: Tokens) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a training step of ViT-Tiny on one small image and one on the batch."""
    network = _network(name).train()
    images = torch.randn(1, 3, 128, 128), torch.randn(tokens.batch, 3, tokens.side, tokens.side)
    return partial(step, network, images[0], True), partial(step, network, images[1], True)


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    contestant = (CONTESTANTS | REDUCED)[name]
    return create_model("vit_tiny", contestant.layer, **contestant.settings)


def _layers_agree(tokens: Tokens) -> bool:
    """Compare ConvNN attention with its definition and LocalAttention with the package: outputs and input gradients."""
    x = torch.randn(1, tokens.length, DIM)
    ours, reference = CONTESTANTS["ConvNNAttention, K 9"].make(), CONTESTANTS["— reference"].make()
    local, package = CONTESTANTS["LocalAttention, w 128"].make(), CONTESTANTS["— package local-attention"].make()
    matrices = (*package.mha.to_qkv.weight.chunk(3), package.mha.to_out.weight)
    for projection, weight in zip((local.query, local.key, local.value, local.output), matrices, strict=True):
        projection.weight.data = weight.data
    found = _output_and_gradient(ours, x) + _output_and_gradient(local, x)
    expected = _output_and_gradient(reference, x) + _output_and_gradient(package, x)
    return all(near(one, other, 1e-4) for one, other in zip(found, expected, strict=True))


def _output_and_gradient(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = layer.eval()(x)
    out.backward(torch.ones_like(out))
    return [out.detach(), x.grad]
