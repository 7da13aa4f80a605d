"""TorchNTK: one tangent kernel by several routes, and what each of them costs."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from claims._experiment import Outcome
from convnn.tangent import layered_kernels, tangent_kernel

SYSTEM = "Tangent kernels by layers"
CLAIM = "All routes give one kernel; by layers it needs less memory, and the explicit form is faster than gradients."
EXPERIMENT = (
    "A network 64-128-128-128-1 with tanh on 100 normal inputs, float64, one thread: milliseconds of the explicit"
    " form, of ours by layers, and of torch.func with the whole Jacobian, medians of interleaved turns; the largest"
    " difference from the latter as a share of its largest entry; and how many numbers of the Jacobian are there at"
    " once, in thousands."
)
SEEDS = (0, 1, 2)


def measure(seeds: list[int], quick: bool) -> Outcome:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = [routes(seed, *((16, 10, 1) if quick else (128, 100, 5))) for seed in seeds]
    finally:
        torch.set_num_threads(threads)
    rows = [["kernel by", "ms", "difference", "numbers, thousands"]]
    for name in found[0]:
        ms, error, numbers = (statistics.median(one[name][part] for one in found) for part in range(3))
        rows.append([name, f"{ms:.1f}", f"{error:.0e}", f"{numbers / 1000:,.1f}"])
    worst = max(one[name][1] for one in found for name in one)
    faster = min(one["torch.func, whole"][0] / one["explicit form"][0] for one in found)
    fewer = max(one["layers"][2] / one["torch.func, whole"][2] for one in found)
    return Outcome(
        rows,
        {
            "all routes agree to 1e-12": worst < 1e-12,
            "the explicit form is more than 10 times faster than torch.func": faster > 10,
            "by layers less than half of the Jacobian is there": fewer < 0.5,
        },
    )


def routes(seed: int, width: int, samples: int, turns: int) -> dict[str, tuple[float, float, float]]:
    """Return milliseconds, error and numbers of each route."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, width), *(part for _ in range(2) for part in (nn.Tanh(), nn.Linear(width, width)))]
    model, x = nn.Sequential(*layers, nn.Tanh(), nn.Linear(width, 1)).double(), torch.randn(samples, 64).double()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def whole() -> Tensor:
        rows = vmap(grad(lambda some, one: functional_call(model, some, (one,))[0]), (None, 0))(parameters, x)
        jacobian = torch.cat([one.flatten(1) for one in rows.values()], 1)
        return jacobian @ jacobian.T

    sizes = {name: value.numel() for name, value in parameters.items()}
    factors = sum(one.in_features + one.out_features for one in model if isinstance(one, nn.Linear))
    ways: dict[str, tuple[Callable[[], Tensor], int]] = {
        "explicit form": (lambda: sum(layered_kernels(model, x, torch.tanh).values()), factors),
        "layers": (lambda: sum(tangent_kernel(model, x, kind="layers").values()), factors),
        "torch.func, whole": (whole, sum(sizes.values())),
    }
    expected, times = whole(), {name: [] for name in ways}
    errors = {name: ((run() - expected).abs().max() / expected.abs().max()).item() for name, (run, _) in ways.items()}
    for _ in range(turns):
        for name, (run, _) in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: (statistics.median(times[name]), errors[name], samples * ways[name][1]) for name in ways}
