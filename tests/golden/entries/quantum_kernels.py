"""Covariant quantum kernels (arXiv 2105.03406)."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convnn.learners.quantum import AlignedClassifier, CovariantQuantum, alignment
from golden.case import Case
from golden.entry import Entry


def _kernel(case: Case, theta: Tensor | float) -> CovariantQuantum:
    if isinstance(theta, Tensor) and (theta.numel() == 1) != case.config["single_parameter"]:
        raise ValueError(f"theta has shape {tuple(theta.shape)}")
    return CovariantQuantum(case.config["qubits"], case.config["edges"], theta)


def _build(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    def run(X: Tensor, Y: Tensor, theta: Tensor, labels: Tensor, alpha: Tensor) -> Mapping[str, Tensor]:
        kernel = _kernel(case, theta)
        states, K = kernel.states(X), kernel.block(X, X)
        parts = {"states_real": states.real, "states_imag": states.imag, "K_XX": K, "K_XY": kernel.block(X, Y)}
        return {"alignment": alignment(K, alpha * labels)} | parts

    def machines(X: Tensor, Y: Tensor, _: None, labels: Tensor, __: None) -> Mapping[str, Tensor]:
        found = {}
        for name, theta in (("0.1", 0.1), ("half_pi", math.pi / 2)):
            kernel = _kernel(case, theta)
            ours = AlignedClassifier(kernel, "theta", steps=0, C=case.config["C"], tol=1e-12).fit(X.numpy(), labels)
            found |= {
                f"K_train_{name}": kernel.block(X, X),
                f"K_test_{name}": kernel.block(Y, X),
                f"svc_loss_{name}": torch.tensor(ours.losses_[0]),
                f"decision_{name}": torch.from_numpy(ours.decision_function(Y.numpy())),
            }
        return found

    return machines if "C" in case.config else run


ENTRIES = {
    "CovariantFeatureMap kernel": Entry(
        _build, ("X", "Y", "theta", "labels", "alpha"), aside=("labels_test",), tolerance=1e-6
    ),
}
