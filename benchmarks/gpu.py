"""Triton kernels on a GPU: agreement with the definition, then cost.

    PYTHONPATH=src python -m benchmarks.gpu [--quick] [--out results.json]

It needs only torch and triton. Cases that disagree are not timed. With --interpret-check the comparison runs on tiny
shapes in Triton's interpreter, without a GPU.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", str(int("--interpret-check" in sys.argv)))  # before kernels are defined

import torch
from torch import Tensor, nn

from benchmarks.contestants import VGG11, Case, K, PlainConvNN, inner_positions
from convnn.backends import reference, triton
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
    pairs = ([module.attend_to_blocks(*opened)] for module in (triton, reference))
    names += differing("attention to blocks", *pairs)
    pairs = (module.attend_to_blocks_backward(queries, *opened) for module in (triton, reference))
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


def medians(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each contestant, interleaved so that clock changes affect all of them."""
    for contestant in contestants.values():
        for _ in range(3):
            contestant()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            contestant()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    return {name: statistics.median(measured) for name, measured in times.items()}


def peak_gigabytes(contestant: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    contestant()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


def step(layer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Run forward and backward."""
    layer(x).square().mean().backward()


def time_layer(case: Case, repeats: int) -> dict[str, Any]:
    """Measure forward and backward of each contestant's layer, and the Triton operators one by one."""
    x = torch.randn(case.batch, case.inputs, case.side, case.side, device="cuda", requires_grad=True)
    channels_last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    convolution = nn.Conv2d(case.inputs, case.outputs, 3, padding=1).to("cuda", memory_format=torch.channels_last)
    layers = {name: ConvNN2d(case.inputs, case.outputs, K=K, backend=name).cuda() for name in ("reference", "triton")}
    plain = PlainConvNN(case.inputs, case.outputs).cuda()
    contestants: dict[str, Callable[[], object]] = {name: partial(step, layer, x) for name, layer in layers.items()}
    contestants |= {"conv3x3": partial(step, convolution, channels_last), "topk+gather": partial(step, plain, x)}
    milliseconds = medians(contestants, repeats)
    gigabytes = {name: peak_gigabytes(contestant) for name, contestant in contestants.items()}
    return {
        "case": str(case),
        "ms": milliseconds,
        "GB": gigabytes,
        "triton ms": medians(operators(case, layers["triton"].weight.detach()), repeats),
    }


def operators(case: Case, weight: Tensor) -> dict[str, Callable[[], object]]:
    keys, positions = padded_rows(case, "cuda")
    queries = keys[:, positions]
    indices = triton.nearest(queries, keys, K, "cosine", positions, None)
    grad = torch.randn(case.batch, len(positions), case.outputs, device="cuda")
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


def time_networks(batch: int, repeats: int) -> list[dict[str, Any]]:
    """Measure training steps of VGG11 with every layer, with the automatic backend and with the definition."""
    images = torch.randn(batch, 3, 32, 32, device="cuda")
    labels = torch.randint(10, (batch,), device="cuda")
    results = []
    for name in ("Conv2d", "ConvNN", "Branching", "ConvNN_Attn"):
        contestants: dict[str, Callable[[], object]] = {}
        for backend in ("auto",) if name == "Conv2d" else ("auto", "reference"):
            model = vgg11(layer_factory(name, K=K, branch_ratio=0.5, backend=backend)).cuda()
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
            contestants[backend] = partial(train_step, model, optimizer, images, labels)
        milliseconds = medians(contestants, repeats)
        gigabytes = {backend: peak_gigabytes(contestant) for backend, contestant in contestants.items()}
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


def compare(cases: list[Case], device: str) -> list[Case]:
    """Return the cases on which Triton agrees with the definition, and print the others."""
    agreeing = []
    for case in cases:
        found = disagreements(case, device)
        print(f"{case!s:<34}" + ("agrees" if not found else "DISAGREES, not timed: " + "; ".join(found)), flush=True)
        if not found:
            agreeing.append(case)
    return agreeing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 32 and fewer repeats")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument(
        "--interpret-check", action="store_true", help="only compare tiny shapes in Triton's interpreter"
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.interpret_check:
        tiny = [Case(1, 4, 3, 5), Case(2, 3, 12, 4)]
        return 0 if compare(tiny, "cpu") == tiny else 1
    if not torch.cuda.is_available() or triton.unavailable_reasons():
        print("nothing to time:", "; ".join(triton.unavailable_reasons() or ["there is no CUDA device"]))
        return 0
    batch, repeats = (32, 7) if options.quick else (256, 15)
    cases = [Case(batch, *shape) for shape in VGG11] + [LARGE_MAP]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; tolerance {TOLERANCE:g} of the largest number")
    agreeing = compare(cases, "cuda")
    results = []
    for case in agreeing:
        results.append(time_layer(case, repeats))
        print_result(results[-1])
    if agreeing == cases:
        results += time_networks(batch, repeats)
    if options.out:
        report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results}
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if agreeing == cases else 1


if __name__ == "__main__":
    sys.exit(main())
