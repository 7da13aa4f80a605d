"""Every figure of docs/benchmarks: `python -m benchmarks` takes half an hour, `--quick` a minute."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.contestants import LARGE, RESNET18, VGG11, Case
from benchmarks.layers import measure_layer, measure_sizes
from benchmarks.networks import measure_networks
from benchmarks.search import measure_search


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small batches, few repeats, no memory, nothing written")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the page")
    options = parser.parse_args()
    results = measure_quickly() if options.quick else measure_all()
    print(report.tables(results))
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        report.write(results, options.out)
    return 0 if all(one["agrees"] for group in ("networks", "layers") for one in results[group]) else 1


def measure_all() -> dict[str, Any]:
    """What the page shows."""
    cases = [Case(64, *shape) for shape in [*VGG11, *RESNET18]]
    return {
        "machine": describe_machine(),
        "networks": measure_networks(64, 7, with_memory=True),
        "layers": [measure_layer(case, 5, with_memory=True) for case in cases + LARGE],
        "searches": [measure_search(case, 5) for case in cases[:2] + LARGE],
        "sizes": measure_sizes((16, 32, 48, 64, 96, 128), 5, with_memory=True),
    }


def measure_quickly() -> dict[str, Any]:
    """The same on small batches: that everything runs and agrees."""
    cases = [Case(2, *shape) for shape in VGG11[:2]]
    return {
        "machine": describe_machine(),
        "networks": measure_networks(2, 2, with_memory=False),
        "layers": [measure_layer(case, 2, with_memory=False) for case in cases],
        "searches": [measure_search(cases[0], 2)],
        "sizes": measure_sizes((8, 16), 2, with_memory=False),
    }


def describe_machine() -> str:
    """Processor, threads and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{models[0] if models else platform.processor()}, {torch.get_num_threads()} threads, {capability},"
        f" torch {torch.__version__}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
