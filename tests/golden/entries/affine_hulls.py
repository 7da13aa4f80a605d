"""Kernel affine hull machines (arXiv 2304.01300)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convnn.learners.affine_hull import Hull, Hulls, optimal_noise
from golden.case import Case
from golden.entry import Entry


def _hull(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    def run(Y: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        hulls = _wide(case, Y)
        found = {"image": hulls.images(y), "distance": hulls.distances(y)}
        if "encoding" in case.tensors:
            (one,), published = hulls.parts, case.tensors["encoding"]
            signs = (one.directions * published).sum(1, keepdim=True).sign()  # a direction has no sign
            numbers = {"error": one.error, "regularisation": one.ridge}
            found |= {name: torch.tensor(value, dtype=Y.dtype) for name, value in numbers.items()}
            found |= {"encoding": one.directions * signs, "theta": one.precision.diag()}
        return found

    return run


def _wide(case: Case, Y: Tensor) -> Hulls:
    """Return the hulls of consecutive subsets of equal size, as the files have them."""
    subsets = case.config.get("subsets", 1)
    rule = torch.arange(len(Y)) * subsets // len(Y)
    return Hulls([Hull(Y[rule == part], case.config["subspace_dim"]) for part in range(subsets)])


def _classifier(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    noise = case.pick("epsilon", "delta", "adjacency")

    def run(y: Tensor) -> Mapping[str, Tensor]:
        found, classes = {}, range(case.config["classes"])
        kinds: dict[str, list[Tensor]] = {"": [], "_noisy": [], "_fabricated": []}
        for c in classes:
            own = case.tensors[f"Y_{c}"]
            noisy = own + optimal_noise(case.tensors[f"uniform_{c}"], **noise)
            made = _wide(case, noisy).images(noisy)
            found |= {f"noisy_{c}": noisy, f"fabricated_{c}": made}
            for kind, points in zip(kinds.values(), (own, noisy, made), strict=True):
                kind.append(_wide(case, points).distances(y))
        for name, each in kinds.items():
            distances = torch.stack(each, 1)
            found |= {f"distance{name}": distances, f"label{name}": distances.argmin(1)}
        return found

    return run


ENTRIES = {
    "KAHM": Entry(_hull, ("Y", "y"), ("image", "distance")),
    "KAHM classifier": Entry(_classifier, ("y",), aside=("subset_rule",)),
}
