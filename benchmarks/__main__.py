"""Every figure of docs/benchmarks: `python -m benchmarks` takes half an hour, `--quick` two minutes."""

import argparse
import json
import platform
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import report, search
from benchmarks.contestants import LAYERS, NETWORK_LAYERS, Case, make_step, network_layer, step
from benchmarks.measure import milliseconds, peak_megabytes, ratio
from convnn.models import create_model
from convnn.nn import LayerFactory

VGG11 = [(32, 3, 64), (16, 64, 128), (8, 128, 256), (8, 256, 256), (4, 256, 512), (4, 512, 512), (2, 512, 512)]
RESNET18 = [(32, 64, 64), (16, 128, 128)]  # its other two are among those of VGG11
LARGE = [Case(4, 64, 64, 64), Case(1, 128, 64, 64)]
SWEEP = (16, 32, 48, 64, 96, 128)
SLOW_TO = 64  # the largest side on which contestants that write T x T scores are run in the sweep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small batches, few repeats, nothing written to docs")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the page")
    options = parser.parse_args()
    batch, repeats = (4, 2) if options.quick else (64, 7)
    results: dict[str, Any] = {"machine": describe_machine(), "quick": options.quick}
    results["networks"] = networks(batch, repeats)
    large = [Case(1, 32, 64, 64)] if options.quick else LARGE
    cases = [Case(batch, *shape) for shape in [*VGG11, *RESNET18]] + large
    results["layers"] = [layer(case, repeats) for case in cases]
    results["searches"] = [one_search(case, repeats) for case in ([cases[0]] if options.quick else cases[:2] + large)]
    results["sweep"] = sweep((8, 16) if options.quick else SWEEP, max(3, repeats // 2))
    print(report.tables(results))
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        report.write(results, options.out)
    return 0 if all(one["agrees"] for group in ("networks", "layers") for one in results[group]) else 1


def describe_machine() -> str:
    """Processor, threads and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{models[0] if models else platform.processor()}, {torch.get_num_threads()} threads, {capability},"
        f" torch {torch.__version__}"
    )


def networks(batch: int, repeats: int) -> list[dict[str, Any]]:
    """Forward and backward of the features of VGG11, of every layer, ours and by the definition."""
    images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    contestants, agreement = {}, {}
    for name in NETWORK_LAYERS:
        for backend in ("auto",) if name == "Conv2d" else ("auto", "reference"):
            features = _features(name, backend)
            contestants[f"{name} {backend}"] = partial(step, features, images, True)
        agreement[name] = name == "Conv2d" or _networks_agree(name)
    times = milliseconds(contestants, repeats)
    return [_network_result(key, times, batch, agreement) for key in contestants]


def _network_result(key: str, times: dict[str, list[float]], batch: int, agreement: dict[str, bool]) -> dict[str, Any]:
    name, backend = key.split()
    peak = peak_megabytes(_make_network_step, name, backend, batch)
    against = {"Conv2d": ratio(times, key, "Conv2d auto"), "reference": 1.0}
    if backend == "auto" and name != "Conv2d":
        against["reference"] = ratio(times, f"{name} reference", key)
    median = statistics.median(times[key])
    print(f"VGG11 features, {key}: {median:.0f} ms, {against['Conv2d']:.2f} x Conv2d, {peak:.0f} MB", flush=True)
    return {"layer": name, "backend": backend, "ms": median, "MB": peak, "batch": batch, **_named(against)} | {
        "agrees": agreement[name]
    }


def _named(against: dict[str, float]) -> dict[str, float]:
    return {"times Conv2d": against["Conv2d"], "faster than reference": against["reference"]}


def _features(name: str, backend: str) -> torch.nn.Module:
    torch.manual_seed(0)
    layer = network_layer(name, backend)
    vgg = create_model("vgg11", "Conv2d", num_classes=10) if name == "Conv2d" else _vgg(layer)
    return vgg.features.train().to(memory_format=torch.channels_last)


def _vgg(layer: Any) -> Any:
    from convnn.models.vgg import vgg11

    return vgg11(layer, num_classes=10)


def _make_network_step(name: str, backend: str, batch: int) -> tuple[Any, Any]:
    features = _features(name, backend)
    images = [torch.rand(n, 3, 32, 32).contiguous(memory_format=torch.channels_last) for n in (2, batch)]
    return partial(step, features, images[0], True), partial(step, features, images[1], True)


def _networks_agree(name: str) -> bool:
    """Every layer of the network, on random maps: behind the first one rounding alone can change who is chosen."""
    makers = {backend: network_layer(name, backend) for backend in ("auto", "reference")}
    return all(_layers_agree(makers["auto"], makers["reference"], Case(4, *shape)) for shape in VGG11)


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Within the tolerance, in units of the largest number."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def layer(case: Case, repeats: int) -> dict[str, Any]:
    """Forward alone, and forward and backward, of one layer as each contestant has it."""
    result: dict[str, Any] = {
        "case": case._asdict(),
        "agrees": _layers_agree(LAYERS["ours"], LAYERS["reference"], case),
    }
    for training in (False, True):
        times = milliseconds({name: make_step(name, case, training)[1] for name in LAYERS}, repeats)
        result["training" if training else "forward"] = {
            name: {
                "ms": statistics.median(times[name]),
                "MB": peak_megabytes(make_step, name, case, training),
                "images/s": 1000 * case.batch / statistics.median(times[name]),
                "ours is faster": ratio(times, name, "ours"),
            }
            for name in LAYERS
        }
    print(report.layer_line(result), flush=True)
    return result


def _layers_agree(make: LayerFactory, make_reference: LayerFactory, case: Case) -> bool:
    """Output and all gradients of two layers with the same weights, without dropout."""
    torch.manual_seed(0)
    layers = [one(case.inputs, case.outputs).eval() for one in (make, make_reference)]
    layers[0].load_state_dict(layers[1].state_dict())
    data = torch.randn(min(case.batch, 8), case.inputs, case.side, case.side)
    results = []
    for one in layers:
        x = data.clone().requires_grad_()
        out = one(x)
        out.backward(torch.ones_like(out))
        results.append([out.detach(), x.grad, *[p.grad for p in one.parameters()]])
    return all(near(found, expected, 1e-4) for found, expected in zip(*results, strict=True))


def one_search(case: Case, repeats: int) -> dict[str, Any]:
    """The search alone, by every library that finds the same neighbours."""
    inputs = search.inputs_of(case)
    expected = search.reference(*inputs)
    agreement = {name: search.agrees(find(*inputs), expected, *inputs[:2]) for name, find in search.SEARCHES.items()}
    times = milliseconds({name: partial(find, *inputs) for name, find in search.SEARCHES.items()}, max(3, repeats // 2))
    medians = {name: statistics.median(times[name]) for name in times}
    print(f"search {case}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()), flush=True)
    ratios = {name: ratio(times, name, "ours") for name in times}
    return {"case": case._asdict(), "ms": medians, "ours is faster": ratios, "agrees": agreement}


def sweep(sides: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Time and memory of a training step against the size of the map, one image of 64 channels."""
    points = []
    for side in sides:
        case = Case(1, side, 64, 64)
        names = [name for name in LAYERS if side <= SLOW_TO or name in ("Conv2d", "ours")]
        times = milliseconds({name: make_step(name, case, True)[1] for name in names}, repeats)
        peaks = {name: peak_megabytes(make_step, name, case, True) for name in names}
        points.append({"side": side, "ms": {name: statistics.median(times[name]) for name in names}, "MB": peaks})
        print(f"sweep {points[-1]}", flush=True)
    return points


if __name__ == "__main__":
    raise SystemExit(main())
