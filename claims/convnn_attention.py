"""Attention is ConvNN attention with all positions as neighbours."""

import torch
from torch import nn

from claims._experiment import Outcome
from convnn.nn import ConvNNAttention

SYSTEM = "ConvNN attention"
CLAIM = "Self-attention is the special case of ConvNN attention with K = T and a kernel of ones."
EXPERIMENT = (
    "ConvNNAttention, as it is initialised, with the projections of PyTorch's MultiheadAttention on random"
    " sequences, in float64: the largest difference of outputs and of gradients of the input for K = T; with fewer"
    " neighbours the outputs must differ."
)
SEEDS = (0, 1, 2)


def measure(seeds: list[int], quick: bool) -> Outcome:
    shares = (1.0, 0.75, 0.5, 0.25)
    rows, largest = [["K", "output", "input gradient"]], {}
    for share in shares:
        cases = [(length, heads) for length in (8, 20, 64)[: 1 if quick else None] for heads in (1, 3)]
        found = [differences(length, heads, share, seed) for length, heads in cases for seed in seeds]
        largest[share] = [max(column) for column in zip(*found, strict=True)]
        rows.append(["T" if share == 1 else f"{share} T", *(f"{one:.1e}" for one in largest[share])])
    return Outcome(
        rows,
        {
            "with K = T outputs and gradients differ by less than 1e-12": max(largest[1.0]) < 1e-12,
            "with K = T / 2 outputs differ by more than 1e-3": largest[0.5][0] > 1e-3,
        },
    )


def differences(length: int, heads: int, share: float, seed: int) -> list[float]:
    """Return the largest differences of ConvNN attention and PyTorch's attention with the same projections."""
    torch.manual_seed(seed)
    reference = nn.MultiheadAttention(24, heads, bias=False, batch_first=True, dtype=torch.float64)
    ours = ConvNNAttention(24, heads, K=int(share * length), attention_dropout=0.0, dtype=torch.float64)
    queries, keys, values = reference.in_proj_weight.detach().chunk(3)
    # As published, `key` projects the queries and `query` the keys.
    for linear, weight in (
        (ours.key, queries),
        (ours.query, keys),
        (ours.value, values),
        (ours.output, reference.out_proj.weight),
    ):
        linear.weight.data = weight.detach().clone()
    x = torch.randn(2, length, 24, dtype=torch.float64)
    results = []
    for layer in (ours, lambda tokens: reference(tokens, tokens, tokens)[0]):
        tokens = x.clone().requires_grad_()
        out = layer(tokens)
        out.square().sum().backward()
        results.append((out.detach(), tokens.grad))
    return [(a - b).abs().max().item() for a, b in zip(*results, strict=True)]
