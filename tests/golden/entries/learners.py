"""Kernel machines: EigenPro 3, and products by hashing."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convnn.learners.hashing import EuclideanHash, hashed_product
from convnn.learners.kernels import ExponentialPower, Function, Gaussian, Kernel, Laplace
from convnn.learners.products import KernelMatrix
from convnn.learners.projected_descent import InexactProjection, ProjectedDescent, data_preconditioner
from golden.case import Case
from golden.entry import Entry, refuse


def _relu_tangent(X: Tensor, Y: Tensor, depth: int, bias: float) -> Tensor:
    """Return the tangent kernel of a ReLU network, a kernel of one's own."""
    lengths = X.norm(dim=1)[:, None] * Y.norm(dim=1)
    covariance = X @ Y.T
    tangent = covariance + bias**2
    for _ in range(1, depth):
        cosine = (covariance / lengths).clamp(-1, 1)
        rest = 1 - cosine.acos() / math.pi
        covariance = lengths * (cosine * rest + (1 - cosine.square()).sqrt() / math.pi)
        tangent = tangent * rest + covariance + bias**2
    return tangent


def _kernel(case: Case) -> Kernel:
    settings = case.config["kernel_params"]
    match case.config["kernel"]:
        case "laplacian":
            return Laplace(settings["bandwidth"])
        case "gaussian":
            return Gaussian(settings["bandwidth"])
        case "dispersal":
            power = settings["gamma"]
            return ExponentialPower(settings["bandwidth"] ** (1 / power), power)
        case name if name.startswith("ntk_relu"):
            depth, bias = settings.get("depth", 1), settings.get("bias", 0.0)
            return Function(lambda X, Y: _relu_tangent(X, Y, depth, bias))
        case name:
            raise ValueError(name)


def _eigenpro(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    refuse(case, stale_first_residual="a defect, the first residual of a projection is that of the one before")
    kernel, config = _kernel(case), case.config

    def run(X: Tensor, y: Tensor, centers: Tensor, X_test: Tensor) -> Mapping[str, Tensor]:
        sample = X[case.tensors["draw.data_nystrom_ids"]] if "draw.data_nystrom_ids" in case.tensors else None
        if sample is None:
            sample = case.tensors["nystrom_samples"]
        orders = iter(case.tensors["draw.permutations"])
        K = KernelMatrix(kernel, centers, centers)
        project = InexactProjection(K, case.tensors["draw.projection_nystrom_ids"], lambda: next(orders))
        level = config["data_preconditioner_level"]
        preconditioner = data_preconditioner(KernelMatrix(kernel, sample, sample), level)
        outputs = y.shape[1]
        ours = ProjectedDescent(lambda A, B: KernelMatrix(kernel, A, B), centers, sample, preconditioner, project, outputs)
        rates = (ours.batch_size, ours.batch_size / (2 * preconditioner.largest), project.batch_size, project.step)
        stated = (config[name] for name in ("batch_size", "lr", "projection_batch_size", "projection_eta"))
        if not all(math.isclose(*pair, rel_tol=1e-12) for pair in zip(rates, stated, strict=True)):
            raise ValueError(f"sizes and lengths of steps are {rates}")
        first_batch = KernelMatrix(kernel, X[: ours.batch_size], centers)
        gradient = ours.gradient(X[: ours.batch_size], first_batch, -y[: ours.batch_size])
        after = []
        for _ in range(config["epochs"]):
            for x, target in zip(X.split(ours.batch_size), y.split(ours.batch_size), strict=True):
                ours.step(x, target)
                after.append(ours.alpha)
        return {
            "weights_after_batch": torch.stack(after),
            "weights": ours.alpha,
            "prediction": KernelMatrix(kernel, X_test, centers) @ ours.alpha,
            "corrected_gradient_first": gradient,
            "theta_first": -2 * preconditioner.largest * after[0],
        }

    return run


def _hashed(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    kernel, config = Gaussian(case.config["sigma"]), case.config

    def run(queries: Tensor, keys: Tensor, x: Tensor) -> Mapping[str, Tensor]:
        hashes = EuclideanHash(case.tensors["hash_a"], case.tensors["hash_b"], config["width"])
        if hashes.offsets.shape != (config["tables"], config["hashes"]):
            raise ValueError(f"offsets are {tuple(hashes.offsets.shape)}")
        uniforms, columns = case.tensors["uniforms"], x.reshape(x.shape[0], -1)
        pairs = hashes.candidates(queries, keys)
        parts = hashed_product(kernel, queries, keys, columns, pairs, config["tau"], uniforms)
        return {
            "candidates": pairs,
            "heavy": parts.heavy,
            "heavy_part": parts.heavy_part.view(-1, *x.shape[1:]),
            "samples": parts.samples,
            "y": parts.total.view(-1, *x.shape[1:]),
            "exact": KernelMatrix(kernel, queries, keys) @ x,
        }

    return run


ENTRIES = {
    "sparse_kernel_matvec": Entry(_hashed, ("queries", "keys", "x")),
    "eigenpro3.models.KernelModel": Entry(
        _eigenpro, ("X", "y", "centers", "X_test"), aside=("permutations_per_batch",)
    ),
}
