"""All figures of docs/benchmarks: `python -m benchmarks` takes 45 minutes, `--quick` two."""

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.caches import measure_caches
from benchmarks.clustered import measure_clustered
from benchmarks.contestants import LARGE, RESNET18, VGG11, Case
from benchmarks.depthwise import measure_depthwise, measure_large_kernels
from benchmarks.family import measure_family
from benchmarks.generated import measure_generated
from benchmarks.graphs import measure_graphs
from benchmarks.layers import measure_layer, measure_sizes
from benchmarks.learners import measure_learners
from benchmarks.map_sizes import measure_map_sizes
from benchmarks.networks import measure_networks
from benchmarks.routed import measure_routed
from benchmarks.scans import measure_scans
from benchmarks.search import measure_search
from benchmarks.sliding import Shape, measure_sliding
from benchmarks.structured import measure_structured
from benchmarks.suggestions import Sizes as Served
from benchmarks.suggestions import measure_suggestions
from benchmarks.tangent import measure_tangent
from benchmarks.tokens import Tokens, measure_tokens, measure_vits
from benchmarks.triples import Sizes, measure_triples
from benchmarks.walks import measure_walks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="use small batches and few repeats, measure no memory, write nothing"
    )
    parser.add_argument(
        "--only", nargs="+", choices=[*FULLY], default=[*FULLY], help="measure these and keep the other figures"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder of the page")
    options = parser.parse_args()
    measure = QUICKLY if options.quick else FULLY
    known = options.out / "results.json"
    results = json.loads(known.read_text()) if known.exists() and not options.quick else {}
    machines = results.get("machines", {}) | dict.fromkeys(options.only, describe_machine())
    results |= {"machines": machines} | {group: measure[group]() for group in options.only}
    print(report.tables(results))
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(results, indent=1) + "\n")
        report.write(results, options.out)
    return 0 if all(_agree(results[group]) for group in options.only) else 1


def _agree(results: Any) -> bool:
    rows = results["rows"] if isinstance(results, dict) and "rows" in results else results
    return not isinstance(rows, list) or all(one.get("agrees", True) for one in rows)


CASES = [Case(64, *shape) for shape in [*VGG11, *RESNET18]]
FAMILY = [(32, 64, 64), (8, 256, 256)]
ROUTED = [(32, 64, 64), (16, 128, 128), (8, 256, 256)]
SLIDING = [
    Shape(1, 1, 1, 256),
    Shape(4, 4, 1, 128),
    Shape(16, 16, 1, 64),
    Shape(64, 64, 64, 56),
    Shape(256, 256, 256, 28),
]
TRIPLES = [Sizes(15_000, 1345, 32_768, 128), Sizes(40_943, 11, 8192, 128), Sizes(40_943, 11, 86_835, 64)]
SMALL = [Case(2, *shape) for shape in VGG11[:2]]

FULLY: dict[str, Callable[[], Any]] = {
    "map_sizes": lambda: measure_map_sizes(8, (32, 64, 128), 5),
    "clustered": lambda: measure_clustered((32, 64, 128, 256, 512), 5),
    "networks": lambda: measure_networks(64, 7, with_memory=True),
    "family": lambda: [measure_family(Case(16, *shape), 7, with_memory=True) for shape in FAMILY],
    "layers": lambda: [measure_layer(case, 5, with_memory=True) for case in CASES + LARGE],
    "searches": lambda: [measure_search(case, 5) for case in CASES[:2] + LARGE],
    "sizes": lambda: measure_sizes((16, 32, 48, 64, 96, 128), 5, with_memory=True),
    "tokens": lambda: [
        measure_tokens(Tokens(8, 224), 7, with_memory=True),
        measure_tokens(Tokens(2, 512), 5, with_memory=True),
        measure_tokens(Tokens(1, 1024), 3, with_memory=True),
    ],
    "vits": lambda: [
        measure_vits(Tokens(8, 224), 3, with_memory=True),
        measure_vits(Tokens(2, 512), 3, with_memory=True),
    ],
    "routed": lambda: measure_routed([Case(64, *shape) for shape in ROUTED], 5),
    "structured": lambda: measure_structured(Case(16, 32, 16, 16), 15),
    "generated": lambda: measure_generated((1024, 4096, 16384, 65536), Case(16, 32, 64, 64), 5, with_memory=True),
    "depthwise": lambda: [
        measure_depthwise(Case(16, *shape), (3, 7, 13, 17, 31), 5, with_memory=True) for shape in FAMILY
    ],
    "large_kernels": lambda: measure_large_kernels(2, 224, 3),
    "graphs": lambda: measure_graphs(100_000, 16, 64, (10_000, 50_000), 7),
    "walks": lambda: measure_walks((250_000, 1_000_000), 2, with_memory=True),
    "scans": lambda: measure_scans((1024, 4096, 16384, 65536), 5, longest_dense=16384),
    "caches": lambda: measure_caches((4096, 16384), 512, 60),
    "learners": lambda: measure_learners(50_000, 1, (1000, 3000, 10_000, 50_000), with_memory=True),
    "triples": lambda: measure_triples(TRIPLES, 9, with_memory=True),
    "suggestions": lambda: measure_suggestions([Served(2048, 20_000, 64), Served(2048, 200_000, 64)], 5),
    "sliding": lambda: measure_sliding(SLIDING, (1, 3, 5, 7, 9, 13, 17, 23, 31), 5, with_memory=True),
    "tangent": lambda: measure_tangent(256, 1, with_memory=True),
}
"""The cases that the page shows."""

QUICKLY: dict[str, Callable[[], Any]] = {
    "map_sizes": lambda: measure_map_sizes(1, (8, 16), 2),
    "clustered": lambda: measure_clustered((24,), 2),
    "networks": lambda: measure_networks(2, 2, with_memory=False),
    "family": lambda: [measure_family(Case(2, 8, 16, 16), 2, with_memory=False)],
    "layers": lambda: [measure_layer(case, 2, with_memory=False) for case in SMALL],
    "searches": lambda: [measure_search(SMALL[0], 2)],
    "sizes": lambda: measure_sizes((8, 16), 2, with_memory=False),
    "tokens": lambda: [measure_tokens(Tokens(1, 224), 2, with_memory=False)],
    "vits": lambda: [measure_vits(Tokens(1, 224), 2, with_memory=False)],
    "routed": lambda: measure_routed([Case(4, 8, 64, 64)], 2),
    "structured": lambda: measure_structured(Case(2, 8, 4, 4), 2),
    "generated": lambda: measure_generated((256, 512), Case(2, 32, 4, 4), 2, with_memory=False),
    "depthwise": lambda: [measure_depthwise(Case(2, 8, 16, 16), (3, 13), 2, with_memory=False)],
    "large_kernels": lambda: measure_large_kernels(2, 32, 1),
    "graphs": lambda: measure_graphs(1000, 16, 8, (500,), 2),
    "walks": lambda: measure_walks((500, 1000), 1, with_memory=False),
    "scans": lambda: measure_scans((64, 256), 2, longest_dense=256),
    "caches": lambda: measure_caches((256, 512), 64, 13),
    "learners": lambda: measure_learners(1000, 1, (200, 400), with_memory=False),
    "suggestions": lambda: measure_suggestions([Served(20, 1000, 8)], 2),
    "triples": lambda: measure_triples([Sizes(50, 3, 40, 8)], 2, with_memory=False),
    "sliding": lambda: measure_sliding([Shape(2, 2, 1, 16), Shape(4, 4, 4, 9)], (1, 5), 2, with_memory=False),
    "tangent": lambda: measure_tangent(2, 1, with_memory=False),
}
"""The same cases on small batches, to check that everything runs and agrees."""


def describe_machine() -> str:
    """Return processor, threads and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{models[0] if models else platform.processor()}, {torch.get_num_threads()} threads, {capability},"
        f" torch {torch.__version__}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
