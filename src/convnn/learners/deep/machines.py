"""Deep kernel machines on features, as estimators for scikit-learn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.learners.deep.ascent import Ascending, batches
from convnn.learners.deep.gram_layer import GramLayer, check_dof, start
from convnn.learners.deep.inputs import FeatureGram
from convnn.learners.deep.kernels import kernel_layer
from convnn.learners.deep.output import Functions, GaussianOutput, condition, gaussian_likelihood
from convnn.learners.deep.sampled import SampledClassifier
from convnn.learners.kernels import GramKernel


class DeepMachine(Ascending):
    """Base of the deep kernel machines on features."""

    n_layers: int
    kernel: str | GramKernel
    dof: float | Sequence[float]
    n_inducing: int | None
    jitter: float

    def _check_settings(self, count: int) -> list[float]:
        """Return the width of each Gram layer, after checks for so many points; none if they are infinite."""
        check_at_least("n_layers", self.n_layers, 0)
        self._check_steps()
        widths = list(self.dof) if isinstance(self.dof, Sequence | np.ndarray) else [self.dof] * self.n_layers
        if len(widths) != self.n_layers:
            raise InputError(f"dof={self.dof!r} must be one number, or one for each of {self.n_layers} layers")
        for width in widths:
            if width != math.inf:
                check_dof(width)
        if self.n_inducing is not None:
            check_at_least("n_inducing", self.n_inducing, 1)
            if self.n_inducing > count:
                raise InputError(f"n_inducing={self.n_inducing} must be at most {count}, the number of points")
        return widths

    def _layers(self, first: FeatureGram, widths: list[float]) -> list[nn.Module]:
        """Return the modules from points to the triple of the last kernel."""
        modules: list[nn.Module] = [first]
        for number, width in enumerate(widths, 1):
            modules.append(kernel_layer(self.kernel, self.jitter))
            if width != math.inf:
                modules.append(GramLayer(first.points.shape[0], width, name=f"layer {number}"))
        return [*modules, kernel_layer(self.kernel, self.jitter)]

    def _inducing(self, points: Tensor, draws: np.random.RandomState) -> Tensor:
        """Return rows at random, in their order, or all."""
        if self.n_inducing is None:
            return points
        return points[torch.from_numpy(np.sort(draws.choice(len(points), self.n_inducing, replace=False)))]

    def _set_network(
        self, points: Tensor, widths: list[float], outputs: int, output_kl: str, draws: np.random.RandomState
    ) -> None:
        """Set a network with inducing points that are learned, in which no Gram layer has learned anything."""
        inducing = self._inducing(points, draws)
        end = GaussianOutput(len(inducing), outputs, output_kl=output_kl)
        self.network_ = nn.Sequential(*self._layers(FeatureGram(inducing), widths), end).to(points)
        start(self.network_, points[:1])

    def _functions(self, X: Any) -> tuple[Functions, Tensor]:
        """Return the functions at points (M, D), and the points in their own type."""
        points = self._check_points(X, reset=False)
        return self._evaluate(points.double()), points


class DeepKernelMachineRegressor(MultiOutputMixin, RegressorMixin, DeepMachine):
    r"""Regression by a deep Gaussian process of infinite width, whose layers learn their Gram matrices.

    The Gram matrices G of L layers maximise

    .. math:: \sum_d \log N(y_d; 0, K(G_L) + \sigma^2 I) - \sum_l \nu_l \,
        \mathrm{KL}\big( N(0, G_l) \,\|\, N(0, K(G_{l-1})) \big), \quad G_0 = X X^T / D

    by Adam, from where they learn nothing: with infinite widths, or without layers, the machine is a Gaussian process.
    A step takes time in proportion to N^3. With inducing points it takes P^3 + B P^2, on batches of B points: all
    but the P inducing points enter by their inner products with those, whose places are learned as well.

    Features should be of like scale, and y of about unit variance: see `normalize_y`. The variance of the noise is
    fixed, because narrow layers would make it vanish.

    Args:
        n_layers: L, at least 0; there is one kernel more.
        kernel: "squared_exponential", "relu" (which learns the variances of its weights and biases), "linear", or a
            kernel that is a function of inner products, such as `ArcCosine()`.
        dof: nu, the relative width of each layer, or one of each; the smaller, the more is learned. It may be infinite.
        noise_variance: sigma^2, at least 0; with inducing points positive.
        n_inducing: P, at most N; None takes all points, and no batches.
        normalize_y: whether to learn y of mean 0 and variance 1.
        max_iter: steps.
        lr: their length at first; it falls to a tenth after 60 %, and again after 90 %.
        batch_size: B, with inducing points.
        jitter: added to the diagonals of kernel matrices, as a share of them and as it is.
        random_state: seed or generator of inducing points and batches, in this order.
        device: where to compute, such as "cuda"; None is the processor.
        verbose: whether to print the objective.

    Attributes:
        network_: the module from points (B, D) to functions.
        objectives_: the objective before each step; with inducing points that of a batch, divided by its size.
        n_iter_: steps taken.

    Raises:
        InputError: in `fit`, an argument is out of range.
        UnsupportedError: in `fit`, a matrix is not positive definite; the message names the layer.

    Reference:
        Yang et al., "A theory of representation learning gives a deep generalisation of kernel methods", ICML 2023,
        arXiv 2108.13097.
    """

    def __init__(
        self,
        n_layers: int = 2,
        kernel: str | GramKernel = "squared_exponential",
        *,
        dof: float | Sequence[float] = 10.0,
        noise_variance: float = 0.1,
        n_inducing: int | None = None,
        normalize_y: bool = False,
        max_iter: int = 200,
        lr: float = 0.05,
        batch_size: int = 256,
        jitter: float = 1e-4,
        random_state: Any = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_layers = n_layers
        self.kernel = kernel
        self.dof = dof
        self.noise_variance = noise_variance
        self.n_inducing = n_inducing
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.lr = lr
        self.batch_size = batch_size
        self.jitter = jitter
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "DeepKernelMachineRegressor":
        """Learn from points X (N, D) and values y (N,) or (N, O)."""
        points, values = self._check_points(X, reset=True).double(), self._check_values(X, y)
        widths = self._check_settings(len(points))
        if self.n_inducing is not None:
            check_positive("noise_variance", self.noise_variance)
        check_not_negative("noise_variance", self.noise_variance)
        if self.n_inducing is None:
            self._fit_full(points, values, widths)
        else:
            self._fit_sparse(points, values, widths)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean (M,) or (M, O), and with `return_std` the standard deviation of an observation alike."""
        found, points = self._functions(X)
        mean = found.mean * self._spread + self._center
        deviation = (found.variance + self.noise_variance).clamp_min(0).sqrt()[:, None] * self._spread
        results = [one if self._has_columns else one[:, 0] for one in (mean, deviation.expand_as(mean))]
        arrays = [one.to(points).cpu().numpy() for one in results]
        return (arrays[0], arrays[1]) if return_std else arrays[0]

    def _check_values(self, X: Any, y: Any) -> Tensor:
        """Return the values (N, O), of mean 0 and variance 1 where wanted."""
        if y is None:
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        array = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", estimator=self)
        check_consistent_length(X, array)
        self._has_columns = array.ndim == 2
        values = self._tensor(array.reshape(len(array), -1))
        self._center, self._spread = values.new_zeros(values.shape[1]), values.new_ones(values.shape[1])
        if self.normalize_y:
            self._center, spread = values.mean(0), values.std(0, correction=0)
            self._spread = torch.where(spread > 0, spread, 1)
        return (values - self._center) / self._spread

    def _fit_full(self, points: Tensor, values: Tensor, widths: list[float]) -> None:
        """Learn the Gram matrices of all points."""
        machine = nn.Sequential(*self._layers(FeatureGram(points, learned=False), widths)).to(points)
        start(machine, points[:0])
        for layer in machine:
            if isinstance(layer, GramLayer):
                layer.log_scale.requires_grad_(False)  # the root has it already
        self.network_ = nn.Sequential(*machine, _Conditioned(values, self.noise_variance))

        def objective() -> Tensor:
            gram = machine(points[:0])
            return condition(gram, values, self.noise_variance).likelihood - gram.cost

        if any(p.requires_grad for p in machine.parameters()):
            self._ascend(objective, (0.9, 0.999))
        else:
            self.objectives_, self.n_iter_ = [objective().item()], 0

    def _fit_sparse(self, points: Tensor, values: Tensor, widths: list[float]) -> None:
        """Learn inducing points, their Gram matrices and their values, on batches."""
        draws = self._draws()
        self._set_network(points, widths, values.shape[1], "sum", draws)
        rows = batches(len(points), self.batch_size, draws)

        def objective() -> Tensor:
            batch = next(rows).to(points.device)
            found = self.network_(points[batch])
            fit = gaussian_likelihood(found.mean, values[batch], self.noise_variance, found.variance)
            return fit - found.cost / len(points)

        self._ascend(objective)


class _Conditioned(nn.Module):
    """The output of a machine whose inducing points are the data."""

    values: Tensor

    def __init__(self, values: Tensor, noise_variance: float) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.noise_variance = noise_variance

    def forward(self, gram: Any) -> Functions:
        found = condition(gram, self.values, self.noise_variance)
        return Functions(found.mean, found.variance - self.noise_variance, gram.cost)


class DeepKernelMachineClassifier(DeepMachine, SampledClassifier):
    r"""Classes by a deep Gaussian process of infinite width, whose layers learn their Gram matrices.

    The expected logarithm of the softmax of its functions is maximised by Adam on batches of B points, minus what the
    Gram matrices and the functions cost, divided by N. A step takes time in proportion to P^3 + B P^2.

    Args:
        n_layers: L, at least 0; there is one kernel more.
        kernel: "relu" (which learns the variances of its weights and biases), "squared_exponential", "linear", or a
            kernel that is a function of inner products, such as `ArcCosine()`.
        dof: nu, the relative width of each layer, or one of each; the smaller, the more is learned. It may be infinite.
        n_inducing: P, inducing points, which start at rows of X and are learned; None takes as many as there are rows.
        n_samples: of the functions, in training and prediction.
        max_iter: steps.
        lr: their length at first; it falls to a tenth after 60 %, and again after 90 %.
        batch_size: B.
        jitter: added to the diagonals of kernel matrices, as a share of them and as it is.
        random_state: seed or generator of inducing points, samples and batches, in this order.
        device: where to compute, such as "cuda"; None is the processor.
        verbose: whether to print the objective.

    Attributes:
        classes_: the classes, in order.
        network_: the module from points (B, D) to functions.
        objectives_: the objective before each step.
        n_iter_: steps taken.

    Raises:
        InputError: in `fit`, an argument is out of range.
        UnsupportedError: in `fit`, a matrix is not positive definite; the message names the layer.

    Reference:
        Yang et al., arXiv 2108.13097; with inducing points, Milsom, Anson and Aitchison, arXiv 2309.09814.
    """

    def __init__(
        self,
        n_layers: int = 2,
        kernel: str | GramKernel = "relu",
        *,
        dof: float | Sequence[float] = 0.1,
        n_inducing: int | None = None,
        n_samples: int = 32,
        max_iter: int = 200,
        lr: float = 0.03,
        batch_size: int = 256,
        jitter: float = 1e-4,
        random_state: Any = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_layers = n_layers
        self.kernel = kernel
        self.dof = dof
        self.n_inducing = n_inducing
        self.n_samples = n_samples
        self.max_iter = max_iter
        self.lr = lr
        self.batch_size = batch_size
        self.jitter = jitter
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "DeepKernelMachineClassifier":
        """Learn from points X (N, D) and labels y (N,)."""
        points, labels = self._check_labelled(X, y)
        widths, draws = self._check_settings(len(points)), self._draws()
        self._set_network(points.double(), widths, len(self.classes_), "mean", draws)
        self._learn(points.double(), labels, draws)
        return self
