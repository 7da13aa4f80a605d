"""Points chosen by a kernel: kernel thinning (arXiv 2110.01593) and rows of an online Newton step (1706.04892)."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convnn.learners.kernels import Function, Gaussian, Kernel, Laplace, Linear
from convnn.learners.newton_steps import LOSSES, OnlineNewton
from convnn.learners.products import KernelMatrix
from convnn.learners.spectra import Matern
from convnn.learners.thinning import kernel_thin
from golden.case import Case
from golden.entry import Entry


def _kernel(stated: list, width: int) -> Kernel | None:
    """Return a kernel in d dimensions as stated, None of one that is not ours."""
    match stated:
        case ["gaussian", {"sigma": sigma}]:
            return Gaussian(sigma)
        case ["laplace", {"gamma": gamma}]:
            return Laplace(1 / gamma)
        case ["matern", {"nu": nu, "gamma": gamma}]:
            return Matern(1 / gamma, nu - width / 2)
        case ["sum", parts]:
            kernels = [_kernel(part, width) for part in parts]
            return Function(lambda X, Y: sum(kernel.block(X, Y) for kernel in kernels)) if all(kernels) else None
    return None


def _thinning(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config = case.config

    def run(X: Tensor, K_split: Tensor, K_swap: Tensor, uniforms: Tensor) -> Mapping[str, Tensor]:
        settings = case.pick("delta", "unique", zero_mean="mean0")
        found = kernel_thin(K_split, K_swap, config["m"], uniforms, **settings)
        numbers = {"coresets": found.lists, "best_coreset": found.best, "coreset": found.indices}
        matrices = {
            name: kernel.block(X, X)
            for name, stated in (("K_split", "split_kernel"), ("K_swap", "swap_kernel"))
            if X is not None and (kernel := _kernel(config.get(stated), X.shape[1]))
        }
        return {
            **{name: torch.from_numpy(value.copy()) for name, value in numbers.items()},
            **matrices,
            "mmd_best": K_swap.new_tensor([found.best_mmd]),
            "mmd": K_swap.new_tensor([found.mmd]),
        }

    return run


def _newton(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config = case.config

    def run(X: Tensor, y: Tensor, uniforms: Tensor) -> Mapping[str, Tensor]:
        kernel = Linear() if config["kernel"] == "linear" else Gaussian(math.sqrt(0.5 / config["gk"]))
        loss = LOSSES["squared_hinge" if "hinge" in config["loss"] else config["loss"]]
        sketch = (config["gamma"], config["beta"]) if config["sketch"] else (1.0, 1.0)
        ours = OnlineNewton(loss, config["C"], config["eta"], config["alpha"], *sketch, config.get("eps", 0.5))
        K = KernelMatrix(kernel, X, X).dense()
        gram, targets, draws = K.numpy(), y.tolist(), uniforms.tolist()
        steps = [ours.step(gram[t, :t], gram[t, t], targets[t], draws[t]) for t in range(len(targets))]
        names = ("prediction", "unprojected", "derivative", "loss", "leverage", "probability")
        found = torch.tensor([step[:6] for step in steps], dtype=X.dtype).T
        sampled = torch.tensor([int(step.sampled) for step in steps])
        return {
            **dict(zip(names, found, strict=True)),
            "sampled": sampled,
            "coef": torch.from_numpy(ours.coef),
            "gram": K,
        }

    return run


ENTRIES = {
    "goodpoints.kt.thin_K": Entry(_thinning, ("X", "K_split", "K_swap", "uniforms")),
    "KONS": Entry(_newton, ("X", "y", "uniforms")),
    "Sketched-KONS": Entry(_newton, ("X", "y", "uniforms")),
}
