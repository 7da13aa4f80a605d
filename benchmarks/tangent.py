"""Tangent kernels of ResNet18 with an eighth of the channels, beside the plain Jacobian of torch.func."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from convnn.bench.measure import Action, milliseconds, peak_megabytes, ratio
from convnn.models import create_model
from convnn.tangent import Projection, tangent_kernel

PLAIN = "plain Jacobian"
AT_ONCE = 16  # images that torch.func maps; all at once take far more memory
COLUMNS = 512
MEGABYTES = 192.0
AGREES = 1e-3  # of the largest entry, in float32; a neighbour may change where two are as near, so Conv2d is compared


def measure_tangent(images: int, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Time and memory of each kind of kernel with each layer, and how they relate to the plain Jacobian."""
    rows = [_measure(layer, images, repeats, with_memory) for layer in ("Conv2d", "ConvNN")]
    return {"images": images, "rows": rows}


def plain(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the kernel of each parameter from the Jacobian of all samples, as one writes it with torch.func."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def outputs(some: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, some, (image.unsqueeze(0),))[0]

    jacobian = vmap(jacrev(outputs), (None, 0), chunk_size=AT_ONCE)(parameters, x)
    rows = {name: one.flatten(1) for name, one in jacobian.items()}
    return {name: one @ one.T for name, one in rows.items()}


KINDS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "layers": lambda model, x: tangent_kernel(model, x, kind="layers", megabytes=MEGABYTES),
    "projected": lambda model, x: tangent_kernel(
        model, x, kind="projected", projection=Projection(COLUMNS), megabytes=MEGABYTES
    ),
    "sum_of_logits": lambda model, x: tangent_kernel(model, x, kind="sum_of_logits", megabytes=MEGABYTES),
    PLAIN: plain,
}


def _network(layer: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model("resnet18", layer, width=0.125).eval()


def _images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _prepare(layer: str, kind: str, images: int) -> tuple[Action, Action]:
    model = _network(layer)
    few, all_of_them = _images(2), _images(images)
    return lambda: KINDS[kind](model, few), lambda: KINDS[kind](model, all_of_them)


def _measure(layer: str, images: int, repeats: int, with_memory: bool) -> dict[str, Any]:
    model, x = _network(layer), _images(images)
    times = milliseconds({kind: lambda kind=kind: KINDS[kind](model, x) for kind in KINDS}, repeats)
    row: dict[str, Any] = {
        "layer": layer,
        "ms": {kind: statistics.median(each) for kind, each in times.items()},
        "times faster": {kind: 1 / ratio(times, kind, PLAIN) for kind in KINDS if kind != PLAIN},
        "agrees": layer != "Conv2d" or _agree(model, x[:8]),
    }
    if with_memory:
        row["MB"] = {kind: peak_megabytes(_prepare, layer, kind, images) for kind in KINDS}
    print(row, flush=True)
    return row


def _agree(model: nn.Module, x: Tensor) -> bool:
    ours, theirs = KINDS["layers"](model, x), plain(model, x)
    return all((ours[name] - one).abs().max() <= AGREES * one.abs().max() for name, one in theirs.items())


def table(results: dict[str, Any]) -> str:
    """A row for each layer and kind: time, memory, and both relative to the plain Jacobian."""
    measured = results["tangent"]
    head = ["layer", "kernel", "s", "times faster", "MB", "share of its memory"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in measured["rows"]:
        for kind, ms in row["ms"].items():
            faster, memory = row["times faster"].get(kind), row.get("MB", {})
            cells = [row["layer"], kind, f"{ms / 1000:.1f}", "" if faster is None else f"{faster:.1f}"]
            cells += [f"{memory[kind]:.0f}", f"{memory[kind] / memory[PLAIN]:.3f}"] if memory else ["", ""]
            lines.append("| " + " | ".join(cells) + " |")
    return (
        f"### Tangent kernels of ResNet18 / 8 on {measured['images']} images of 32 x 32\n\n"
        f"By layers, projected to {COLUMNS} numbers an output, and of the summed logits, with blocks of at most"
        f" {MEGABYTES:.0f} MB; beside the Jacobian of all images by `torch.func`, {AT_ONCE} of them mapped at once, and"
        " its products.\n\n" + "\n".join(lines) + "\n"
    )
