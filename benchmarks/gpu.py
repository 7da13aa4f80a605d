"""Triton kernels on a GPU: agreement with the definition and with published numbers, then cost, in under ten minutes.

    PYTHONPATH=src python -m benchmarks.gpu [--quick] [--out gpu.json]

It needs only torch, triton and safetensors. What disagrees is not timed, and what there is no time for is named. With
--dry all of it runs in Triton's interpreter, without a GPU, in tiny sizes: the times then mean nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", str(int("--dry" in sys.argv)))  # before kernels are defined

import torch
from torch import Tensor, nn

from benchmarks import tiles
from benchmarks.clock import Clock
from benchmarks.contestants import VGG11, Case, K, PlainConvNN, inner_positions
from convnn.backends import reference, triton
from convnn.files import write_atomically
from convnn.models.vgg import vgg11
from convnn.nn import ConvNN2d, layer_factory
from convnn.ops import blocks, select

METRICS = ("cosine", "euclidean", "matmul")
TOLERANCE = 1e-4  # relative to the largest number of each float32 result


LARGE_MAP = Case(1, 128, 64, 64)


# Agreement.


def disagreements(case: Case, device: str) -> list[str]:
    """Return the results of a case that Triton computes differently from the definition."""
    found = []
    keys, positions = padded_rows(case, device)
    queries = keys[:, positions]
    for metric in METRICS:
        arguments = (queries, keys, K, metric, positions, None)
        indices, expected = triton.nearest(*arguments), reference.nearest(*arguments)
        if not torch.equal(indices, expected):
            scores = [reference.similarity(queries.double(), keys.double(), i, metric) for i in (indices, expected)]
            found += differing(f"nearest {metric}", scores[:1], scores[1:], 1e-6)
        arguments = (queries, keys, expected, metric)
        found += differing(f"similarity {metric}", [triton.similarity(*arguments)], [reference.similarity(*arguments)])
        grad = torch.randn(expected.shape, device=device)
        pairs = (module.similarity_backward(grad, *arguments) for module in (triton, reference))
        found += differing(f"gradients of similarity {metric}", *pairs)
    found += disagreements_of_blocks(queries, keys)
    for form, groups, outputs in (("dense", 1, case.outputs), ("depthwise", case.inputs, case.inputs)):
        for scores in (None, torch.rand(expected.shape, device=device)):
            weight = torch.randn(outputs, case.inputs // groups, K, device=device) / (case.inputs * K) ** 0.5
            arguments = (keys, expected, scores, weight)
            name = f"{form} convolve, {'plain' if scores is None else 'scored'}"
            outs = [[module.convolve(*arguments, weight[:, 0, 0], groups)] for module in (triton, reference)]
            found += differing(name, *outs)
            grad = torch.randn_like(outs[0][0])
            needs = [True, scores is not None, True]
            pairs = (module.convolve_backward(grad, *arguments, groups, needs) for module in (triton, reference))
            found += differing(f"gradients of {name}", *pairs)
    return found


def disagreements_of_blocks(queries: Tensor, keys: Tensor) -> list[str]:
    """Return the results of blocks of queries with blocks of keys that Triton computes differently."""
    lists = torch.randint(-1, 9, keys.shape[:2], device=keys.device)
    arguments = (queries, keys, K, "cosine", None, lists, lists[:, : queries.shape[1], None], 9)
    found = [[module.nearest_in_lists(*arguments)] for module in (triton, reference)]
    names = differing("nearest in lists", *found, 0.0)
    opened = (queries, keys, keys, blocks.choose(queries, keys, (64, 32), keep=0.5), 64, 32)
    found = [module.attend_to_blocks(*opened) for module in (triton, reference)]
    names += differing("attention to blocks", *found)
    out, logs = found[1]
    above = (queries, (queries * out).sum(2), logs)
    pairs = (module.attend_to_blocks_backward(*above, *opened) for module in (triton, reference))
    return names + differing("gradients of attention to blocks", *pairs)


def differing(name: str, results: Any, expected: Any, tolerance: float = TOLERANCE) -> list[str]:
    """Return the name with the largest relative error if it exceeds the tolerance, otherwise an empty list."""
    errors = []
    for one, other in zip(results, expected, strict=True):
        if other is not None and other.numel():
            errors.append(((one - other).abs().max() / other.abs().max().clamp_min(1e-30)).item())
    return [] if all(error <= tolerance for error in errors) else [f"{name}: {max(errors):.1e}"]


def padded_rows(case: Case, device: str) -> tuple[Tensor, Tensor]:
    """Return random features of padded maps, (B, T, C), and the positions that are not padding."""
    x = torch.randn(case.batch, case.inputs, case.side, case.side, device=device)
    padded = nn.functional.pad(x, [1] * 4).flatten(2).transpose(1, 2)
    return padded, inner_positions(case.side, case.side, device)


# Time.


def step(layer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Run forward and backward."""
    layer(x).square().mean().backward()


def time_layer(case: Case, clock: Clock) -> dict[str, Any]:
    """Measure forward and backward of each contestant's layer, and the Triton operators one by one."""
    device = clock.device
    x = torch.randn(case.batch, case.inputs, case.side, case.side, device=device, requires_grad=True)
    channels_last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    convolution = nn.Conv2d(case.inputs, case.outputs, 3, padding=1).to(device, memory_format=torch.channels_last)
    layers = {name: ConvNN2d(case.inputs, case.outputs, K=K, backend=name) for name in ("reference", "triton")}
    plain = PlainConvNN(case.inputs, case.outputs).to(device)
    contestants: dict[str, Callable[[], object]] = {
        name: partial(step, layer.to(device), x) for name, layer in layers.items()
    }
    contestants |= {"conv3x3": partial(step, convolution, channels_last), "topk+gather": partial(step, plain, x)}
    return {
        "case": str(case),
        "ms": clock.medians(contestants),
        "GB": {name: clock.gigabytes(contestant) for name, contestant in contestants.items()},
        "triton ms": clock.medians(operators(case, layers["triton"].weight.detach(), device)),
    }


def operators(case: Case, weight: Tensor, device: str) -> dict[str, Callable[[], object]]:
    keys, positions = padded_rows(case, device)
    queries = keys[:, positions]
    indices = triton.nearest(queries, keys, K, "cosine", positions, None)
    grad = torch.randn(case.batch, len(positions), case.outputs, device=device)
    backward = partial(triton.convolve_backward, grad, keys, indices, None, weight, 1)
    return {
        "nearest": partial(triton.nearest, queries, keys, K, "cosine", positions, None),
        "nearest in clusters": partial(
            select.nearest, queries, keys, K, positions=positions, method="clustered", backend="triton"
        ),
        "convolve": partial(triton.convolve, keys, indices, None, weight, None, 1),
        "to values": partial(backward, [True, False, False]),
        "to weight": partial(backward, [False, False, True]),
    }


def time_networks(batch: int, clock: Clock, layers: Sequence[str]) -> list[dict[str, Any]]:
    """Measure training steps of VGG11 with every layer, with the automatic backend and with the definition."""
    images = torch.randn(batch, 3, 32, 32, device=clock.device)
    labels = torch.randint(10, (batch,), device=clock.device)
    results = []
    for name in layers:
        if not clock.has_time_for(f"VGG11 of {name}"):
            continue
        contestants: dict[str, Callable[[], object]] = {}
        for backend in ("auto",) if name == "Conv2d" else ("auto", "reference"):
            model = vgg11(layer_factory(name, K=K, branch_ratio=0.5, backend=backend)).to(clock.device)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
            contestants[backend] = partial(train_step, model, optimizer, images, labels)
        milliseconds = clock.medians(contestants)
        gigabytes = {backend: clock.gigabytes(contestant) for backend, contestant in contestants.items()}
        results.append({"case": f"VGG11 of {name}, batch {batch}", "ms": milliseconds, "GB": gigabytes})
        print_result(results[-1])
    return results


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


# Results.


def print_result(result: dict[str, Any]) -> None:
    cells = [f"{name} {ms:.3f} ms {result['GB'][name]:.2f} GB" for name, ms in result["ms"].items()]
    print(f"{result['case']:<34}" + " | ".join(f"{cell:<30}" for cell in cells), flush=True)
    if "triton ms" in result:
        print(" " * 34 + "triton: " + ", ".join(f"{name} {ms:.3f}" for name, ms in result["triton ms"].items()))


def compare(cases: list[Case], device: str) -> dict[str, list[str]]:
    """Return what Triton computes differently from the definition in each case, and print it."""
    found = {}
    for case in cases:
        found[str(case)] = names = disagreements(case, device)
        print(f"{case!s:<34}" + ("agrees" if not names else "DISAGREES, not timed: " + "; ".join(names)), flush=True)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compare everything, then measure what agrees, while there is time."""
    device = "cpu" if options.dry else "cuda"
    clock = Clock(device, 1 if options.dry else 7 if options.quick else 15, options.minutes)
    cases = [Case(32 if options.quick else 256, *shape) for shape in VGG11] + [LARGE_MAP]
    if options.dry:
        cases = [Case(1, 4, 3, 5), Case(2, 3, 12, 4)]
    report: dict[str, Any] = {
        "device": "Triton's interpreter" if options.dry else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": import_module("triton").__version__,
        "tolerance": TOLERANCE,
    }
    print(*report.values())
    report["disagreements"] = compare(cases, device)
    report["published"] = tiles.parity(device)
    agreeing = [case for case in cases if not report["disagreements"][str(case)]]
    report["layers"] = []
    for case in agreeing[:1] if options.dry else agreeing:
        if clock.has_time_for(str(case)):
            report["layers"].append(time_layer(case, clock))
            print_result(report["layers"][-1])
    all_agree = all(row["agrees"] for row in report["published"])
    report["tiles"] = tiles.times(tiles.TINY if options.dry else tiles.FULL, clock) if all_agree else []
    report["networks"] = []
    if agreeing == cases:
        layers = ("Conv2d",) if options.dry else ("Conv2d", "ConvNN", "Branching", "ConvNN_Attn")
        report["networks"] = time_networks(1 if options.dry else cases[0].batch, clock, layers)
    report["left out"] = clock.left_out
    report["agrees"] = agreeing == cases and all_agree
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 32 and fewer repeats")
    parser.add_argument("--minutes", type=float, default=8, help="time after which nothing more is measured")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the results, JSON")
    parser.add_argument("--dry", action="store_true", help="run in Triton's interpreter, in tiny sizes")
    options = parser.parse_args()
    torch.manual_seed(0)
    if triton.unavailable_reasons():
        print("nothing to measure:", "; ".join(triton.unavailable_reasons()))
        return 0
    report = measure(options)
    write_atomically(options.out, json.dumps(report, indent=2) + "\n")
    print("left out for lack of time:", ", ".join(report["left out"]) or "nothing")
    print(options.out)
    return 0 if report["agrees"] else 1


if __name__ == "__main__":
    sys.exit(main())
