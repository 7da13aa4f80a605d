"""Scans over ever longer sequences: how their time grows, beside attention to all tokens."""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.growth import exponent
from benchmarks.layers import near
from convnn.bench.measure import Action, milliseconds
from convnn.ops import scan

CHANNELS, HEADS = 192, 3
DENSE = "scaled_dot_product_attention"


def measure_scans(lengths: Sequence[int], repeats: int, longest_dense: int) -> dict[str, Any]:
    """Measure forward and backward of one sequence of each length; attention up to the longest that it bears."""
    rows = []
    for length in lengths:
        actions = {name: _step(name, length) for name in ("bi_wkv", "delta_rule")}
        if length <= longest_dense:
            actions[DENSE] = _step(DENSE, length)
        times = milliseconds(actions, repeats)
        rows.append({"length": length, "ms": {name: statistics.median(times[name]) for name in actions}})
        print(rows[-1], flush=True)
    exponents = {name: _exponent(rows, name) for name in rows[0]["ms"]}
    return {"rows": rows, "exponents": exponents, "agrees": _agree()}


def table(results: dict[str, Any]) -> str:
    """Return a row a length and one of exponents, as Markdown."""
    rows, exponents = results["scans"]["rows"], results["scans"]["exponents"]
    names = list(exponents)
    lines = ["| tokens | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for one in rows:
        cells = [f"{one['ms'][name]:.1f}" if name in one["ms"] else "" for name in names]
        lines.append(" | ".join([f"| {one['length']:,}", *cells]) + " |")
    lines.append(" | ".join(["| time grows as T to the power", *(f"{exponents[name]:.2f}" for name in names)]) + " |")
    return (
        f"### Scans against the number of tokens, {CHANNELS} channels\n\n"
        f"Forward and backward of one sequence, in milliseconds; {HEADS} heads where there are heads.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _step(name: str, length: int) -> Action:
    inputs = _inputs(name, length)
    function = {"bi_wkv": scan.bi_wkv, "delta_rule": scan.delta_rule, DENSE: F.scaled_dot_product_attention}[name]
    return partial(_forward_and_backward, function, inputs)


def _forward_and_backward(function: Any, inputs: list[Tensor]) -> None:
    out = function(*inputs)
    out = out[0] if isinstance(out, tuple) else out
    torch.autograd.grad(out, inputs, torch.ones_like(out))


def _inputs(name: str, length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def heads() -> Tensor:
        return torch.randn(1, HEADS, length, CHANNELS // HEADS, generator=generator)

    if name == "bi_wkv":
        inputs = [torch.randn(1, length, CHANNELS, generator=generator) for _ in range(2)]
        inputs += [torch.linspace(-5, 3, CHANNELS) / length, torch.zeros(CHANNELS)]
    elif name == "delta_rule":
        kappa = F.normalize(heads(), dim=-1)
        inputs = [heads(), heads(), heads(), -0.6 * heads().sigmoid(), -kappa, kappa * heads().sigmoid()]
    else:
        inputs = [heads(), heads(), heads()]
    return [one.requires_grad_() for one in inputs]


def _exponent(rows: list[dict[str, Any]], name: str) -> float:
    known = [one for one in rows if name in one["ms"]]
    return exponent([one["length"] for one in known], [one["ms"][name] for one in known])


def _agree() -> bool:
    """Compare the core with the definition, outputs and gradients."""
    pairs = []
    for name, function in (("bi_wkv", scan.bi_wkv), ("delta_rule", scan.delta_rule)):
        for backend in ("auto", "reference"):
            inputs = _inputs(name, 300)
            out = function(*inputs, backend=backend)
            out = out[0] if isinstance(out, tuple) else out
            pairs.append([out.detach(), *torch.autograd.grad(out, inputs, torch.ones_like(out))])
    found, expected = pairs[0] + pairs[2], pairs[1] + pairs[3]
    return all(near(one, other, 1e-3) for one, other in zip(found, expected, strict=True))
