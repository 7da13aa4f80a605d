"""Kernel machines: EigenPro 3, products by hashing, dual kernel PCA, transformed spectra."""

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.learners.dual_components import Centered, DualKernelPCA, Frame, Loss, dual_objective
from convnn.learners.hashing import EuclideanHash, hashed_product
from convnn.learners.kernels import ExponentialPower, Function, Gaussian, Kernel, Laplace
from convnn.learners.matrix import Matrix
from convnn.learners.products import KernelMatrix
from convnn.learners.projected_descent import InexactProjection, ProjectedDescent, data_preconditioner
from convnn.learners.transformed_ridge import Ratio, STKRegressor
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
        ours = ProjectedDescent(
            lambda A, B: KernelMatrix(kernel, A, B), centers, sample, preconditioner, project, outputs
        )
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


def _of_sigma(case: Case) -> Kernel:
    square = case.config["sigma2"]
    return Gaussian(math.sqrt(square / 2)) if case.config["kernel"] == "rbf" else Laplace(square)


def _dual_steps(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config, kernel = case.config, _of_sigma(case)
    name = {"variance": "square"}.get(config["loss"], config["loss"])
    loss = Loss(name, config["radius"], config["norm"])

    def run(X: Tensor, X_test: Tensor, H0: Tensor) -> Mapping[str, Tensor]:
        K, others = KernelMatrix(kernel, X, X), KernelMatrix(kernel, X_test, X)
        G, eye = Centered.of(K, config["centred"]), torch.eye(X.shape[0], dtype=X.dtype)
        is_centered = bool(case.tensors["gram"].sum(0).abs().max() < 1e-9)  # the file has the one or the other
        of_file = G if is_centered else Centered(K, None)
        first = Frame.of(H0, G @ H0)
        ours = DualKernelPCA(
            config["s"], kernel=kernel, loss=name, radius=config["radius"] or 1.0, norm=config["norm"],
            center=config["centred"], init=H0.numpy(), max_iter=config["n_iter"] - 1, tol=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it stops early
            before = torch.from_numpy(ours.fit(X.numpy()).dual_coef_)
            H = torch.from_numpy(ours.set_params(max_iter=config["n_iter"]).fit(X.numpy()).dual_coef_)
        frame = Frame.of(H, G @ H)
        return {
            "gram": of_file @ eye,
            "gram_test": of_file.cross(others, eye),
            "Y_first": first.slope,
            "Y_last": Frame.of(before, G @ before).slope,
            "H": H,
            "objective": dual_objective(H, frame, loss).view(1),
            "projection": G.cross(others, H @ frame.inverse_root),
        }

    return run


def _dual_optimum(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config, kernel = case.config, _of_sigma(case)

    def run(X: Tensor) -> Mapping[str, Tensor]:
        H = case.tensors["H"]
        G = kernel.block(X, X)
        frame = Frame.of(H, G @ H)
        ours = DualKernelPCA(
            config["s"], kernel=kernel, center=False, solver="lbfgs", init=H.numpy(), tol=0, max_iter=2000
        ).fit(X.numpy())
        found = torch.from_numpy(ours.dual_coef_)
        return {
            "gram": G,
            "loss": dual_objective(H, frame, Loss()).view(1),
            "grad_H": H - frame.slope,
            "optimal_value": torch.tensor(ours.loss_curve_[-1:], dtype=X.dtype),
            "eigenvalues": torch.from_numpy(ours.eigenvalues_),
            "scores_outer": found @ found.T,
        }

    return run


def _transformed(case: Case) -> Callable[[], Mapping[str, Tensor]]:
    config, tensors = case.config, case.tensors
    settings = {
        "spectrum": {"poly": "polynomial", "lap": "inverse_laplacian", "topd": "top"}[config["kind"]],
        "coef": config.get("pi", (1.0,)),
        "eta": config.get("eta"),
        "n_components": config.get("d", 1),
    }

    def run() -> Mapping[str, Tensor]:
        if config["kernel"] == "rbf":
            kernel, X = Gaussian(math.sqrt(0.5 / config["rbf_gamma"])), tensors["X"]
        else:
            kernel, X = _graph_kernel(case)
        count, y = config["n_labelled"], tensors["y"]
        targets = torch.cat([y, y.new_full((X.shape[0] - count, y.shape[1]), torch.nan)]).numpy()
        ours = STKRegressor(kernel, beta=config["beta"], normalize=False, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # graphs have negative eigenvalues, and five steps are too few
            ours.fit(X.numpy(), targets)
            few = STKRegressor(kernel, beta=config["beta"], normalize=False, solver="richardson", **settings)
            few.set_params(step=config.get("richardson_step"), max_iter=5, tol=0).fit(X.numpy(), targets)
        G = KernelMatrix(kernel, X, X)
        ratio = Ratio(G, **settings, decompose=True)
        at = tensors.get("X_test", X)
        return {
            "alpha": torch.from_numpy(ours.dual_coef_),
            "theta": torch.from_numpy(ours.theta_),
            "prediction": torch.from_numpy(ours.predict(at.numpy())),
            "kernel_s_labelled": (G @ ratio(torch.eye(X.shape[0], dtype=X.dtype)[:, :count]))[:count],
            "alpha_after_5_steps": torch.from_numpy(few.dual_coef_),
            "theta_after_5_steps": torch.from_numpy(few.theta_),
        }

    return run


def _graph_kernel(case: Case) -> tuple[Kernel, Tensor]:
    """Return the kernel of a graph, and its nodes in their order."""
    if "gram" in case.tensors:
        matrix = case.tensors["gram"]
        return Matrix(matrix), torch.arange(matrix.shape[0], dtype=torch.float64)[:, None]
    order, edges = case.tensors["order"], case.tensors["edge_index"].numpy()
    ones = torch.ones(edges.shape[1], dtype=torch.float64).numpy()
    nodes = int(order.max()) + 1
    return Matrix.of_graph(csr_array((ones, tuple(edges)), shape=(nodes, nodes))), order.double()[:, None]


_DUAL = Entry(_dual_steps, ("X", "X_test", "H0"), aside=("code_transform",))

ENTRIES = {
    "STKR": Entry(_transformed, ()),
    "dc.KPCA_DC": _DUAL,
    "dc.RobustKPCA_DC": _DUAL,
    "dc.SparseKPCA_DC": _DUAL,
    "dc.SparseFix": _DUAL,
    "test_lbfgs.dual_scipy f and grad": Entry(_dual_optimum, ("X",), tolerance=1e-7),  # where L-BFGS ends, J is flat
    "sparse_kernel_matvec": Entry(_hashed, ("queries", "keys", "x")),
    "eigenpro3.models.KernelModel": Entry(
        _eigenpro, ("X", "y", "centers", "X_test"), aside=("permutations_per_batch",)
    ),
}
