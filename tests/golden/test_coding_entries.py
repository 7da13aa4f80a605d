"""Entries of coding without a public file, on files made here from the words of their definition, by loops."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from golden.case import read_case
from golden.check import Verdict, check

Tensors = dict[str, Tensor]


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def dual_prior() -> tuple[Tensors, Tensors, Tensors]:
    """Return inputs, parameters and outputs of both passes, by loops over positions."""
    torch.manual_seed(0)
    channels, height, width = 4, 4, 6
    given = {name: randn(1, channels, height, width) for name in ("y", "means", "scales", "q")}
    weights = {
        "spatial_prior.weight": randn(2 * channels, 4 * channels, 3, 3),
        "spatial_prior.bias": randn(2 * channels),
    }
    step = given["q"].clamp(min=0.5) + (given["q"] - given["q"].detach())  # of q below 0.5 the gradient is added below
    step = torch.where(given["q"] >= 0.5, given["q"], step)
    scaled, means, scales = given["y"] / step, given["means"], given["scales"]
    found = {name: torch.zeros_like(scaled) for name in ("y_res", "y_q", "y_hat", "scales_hat")}
    for number in range(2):
        if number:
            seen = torch.cat([found["y_hat"], given["means"], given["scales"], step], 1)
            parts = F.conv2d(seen, weights["spatial_prior.weight"], weights["spatial_prior.bias"], padding=1).chunk(
                4, 1
            )
            scales, means = torch.cat(parts[::2], 1), torch.cat(parts[1::2], 1)
        mask = torch.zeros(channels, height, width, dtype=torch.float64)
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    mask[c, i, j] = (i + j) % 2 == (c // (channels // 2) + number) % 2
        rest = (scaled - means) * mask
        rounded = rest + (rest.round() - rest).detach()
        found["y_res"] = found["y_res"] + rest
        found["y_q"] = found["y_q"] + rounded
        found["y_hat"] = found["y_hat"] + rounded + means * mask
        found["scales_hat"] = found["scales_hat"] + scales * mask
    found["y_hat"] = found["y_hat"] * step
    return given, weights, found


def offset_diversity() -> tuple[Tensors, Tensors, Tensors]:
    """Return inputs, parameters and the output, whose parts are fetched position by position."""
    torch.manual_seed(0)
    channels, aux, groups, offsets, inside, height, width = 4, 3, 2, 2, 5, 4, 6
    given = {"x": randn(1, channels, height, width), "aux_feature": randn(1, aux, height, width)}
    given["flow"] = randn(1, 2, height, width)
    count, size = groups * offsets, channels // groups
    weights, before = {}, aux
    for layer, after in ((0, inside), (2, inside), (4, 3 * count)):
        weights |= {
            f"conv_offset.{layer}.weight": randn(after, before, 3, 3),
            f"conv_offset.{layer}.bias": randn(after),
        }
        before = after
    weights |= {"fusion.weight": randn(channels, channels * offsets // groups, 1, 1), "fusion.bias": randn(channels)}
    weights["conv_offset.4.weight"].data *= 0.02  # offsets of a few positions, so that tanh is not flat
    weights["conv_offset.4.bias"].data *= 0.02
    out = given["aux_feature"]
    for layer in (0, 2, 4):
        out = F.conv2d(
            out, weights[f"conv_offset.{layer}.weight"], weights[f"conv_offset.{layer}.bias"], 2 if layer == 0 else 1, 1
        )
        out = F.leaky_relu(out, 0.1) if layer < 4 else out
    out = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
    parts = []
    for k in range(count):
        group = given["x"][0, (k % groups) * size : (k % groups + 1) * size]
        reach = 40 * out[0, 2 * k : 2 * k + 2].tanh() + given["flow"][0]
        mask = out[0, 2 * count + k].sigmoid()
        rows = [
            torch.stack([_sampled(group, v + reach[1, v, u], u + reach[0, v, u]) * mask[v, u] for u in range(width)], 1)
            for v in range(height)
        ]
        parts.append(torch.stack(rows, 1))
    found = F.conv2d(torch.cat(parts).unsqueeze(0), weights["fusion.weight"], weights["fusion.bias"], groups=groups)
    return given, weights, {"output": found}


def _sampled(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return a map (C, H, W) at one place, bilinearly, where places beyond the frame are brought to its border."""
    row, column = row.clamp(0, x.shape[1] - 1), column.clamp(0, x.shape[2] - 1)
    total = torch.zeros_like(x[:, 0, 0])
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            if abs(row.item() - i) < 1 and abs(column.item() - j) < 1:
                total = total + x[:, i, j] * (1 - (row - i).abs()) * (1 - (column - j).abs())
    return total


@pytest.mark.parametrize(
    ("layer", "make", "config"),
    [("dual prior (HEM)", dual_prior, {"channels": 4}), ("offset diversity (DC)", offset_diversity, {"group_num": 2})],
    ids=["dual", "offsets"],
)
def test_the_entry_is_the_definition(layer: str, make, config: dict[str, int], tmp_path: Path) -> None:
    given, weights, found = make()
    upstream = {name: torch.randn_like(value) for name, value in found.items()}
    total = sum((value * upstream[name]).sum() for name, value in found.items())
    leaves = {f"grad_{name}": leaf for name, leaf in given.items()}
    leaves |= {f"grad.{name}": leaf for name, leaf in weights.items()}
    grads = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    written = given | {f"param.{name}": value for name, value in weights.items()} | found | grads
    written |= {"grad_output" if name == "output" else f"grad_output.{name}": value for name, value in upstream.items()}
    if "q" in given:  # the lower bound lets only what rises pass, which needs a gradient below 0
        stopped = (given["q"] < 0.5) & (grads["grad_q"] >= 0)
        assert 0 < int(stopped.sum()) < stopped.numel()
        written["grad_q"] = grads["grad_q"].masked_fill(stopped, 0)
    path = tmp_path / "made.safetensors"
    metadata = {"layer": layer, "mode": "train", "config": json.dumps(config)}
    save_file({name: value.detach().contiguous() for name, value in written.items()}, path, metadata)
    assert check(read_case(path)) == Verdict("agrees")
    wrong = {name: value.detach().contiguous() for name, value in written.items()}
    name = next(iter(found))
    wrong[name] = wrong[name] + math.ulp(1.0) * 1e9
    save_file(wrong, path, metadata)
    assert check(read_case(path)).status == "differs"
