r"""Learners: kernel machines as scikit-learn estimators, which select points, weigh them by a kernel, and aggregate.

A kernel is the second of our three steps, and a kernel machine aggregates :math:`f(x) = \sum_j k(x, z_j)\, \alpha_j`
over all points, or over chosen ones. All learners stand on one protocol of four parts, each of which works alone.

**Kernels** (`kernels`, `spectra`, `matrix`) are small objects with hyperparameters, `Gaussian(bandwidth=2)`:
`kernel.block(X, Y)` is the matrix (n, m) of tensors (n, d) and (m, d), and `kernel.diagonal(X)` its diagonal. They
follow device and type, are differentiable, also in hyperparameters that are tensors, and called with arrays they are
kernels for scikit-learn (`SVC(kernel=Gaussian(2))`). Where a kernel is a function of inner products it has
`of_gram(xy, xx, yy)` besides, by which deep kernel machines (`deep`) apply it to a Gram matrix instead of points.
`activation_duals` has what a layer of infinite width does to a Gram matrix, and `deep_random_features` the kernel of
several such layers, with the random network that approaches it. `kernel.metric` is the metric by which
`ops.select.nearest` finds the points of largest kernel, where it has one. A kernel on a graph is `Matrix(K)`, whose
points are node numbers (n, 1); so are tasks, or whatever is numbered. Any function of two tensors is a kernel too.

**Products** (`products`, `direct`, `hashing`) compute `K(X, Y) @ v` without the whole matrix: a strategy is called
with `(kernel, X, Y, v)`. `Chunked(megabytes)` is exact, by the compiled core where that knows the kernel and by blocks
of at most that size elsewhere; `Hashed()` computes the large entries and a sample of the others.
`KernelMatrix(kernel, X, Y, product)` reads as the matrix in formulas, `K @ v`, `K.T @ v` and `K[rows] @ v`, and keeps
its values where they are smaller than the stated size.

**Solvers** (`solvers`, `ops.iterative`) know no kernels, only tensors and functions of them: ridge by a dense solve,
conjugate gradients, steps of constant length, leading eigenpairs, and the preconditioner of stochastic gradients on a
subsample.

**Learners** derive from `base.Learner`, from `base.KernelLearner` where the kernel is an argument, and from
`base.OneHotClassifier` where targets of classes are one-hot. `__init__` only keeps its arguments, as scikit-learn wants
it; `fit` checks them, in the order of the data, then the settings, and raises `InputError`, which is a `ValueError`.
Inside, data are tensors of the type they came in (float32 or float64) on `device`; results are arrays. Random numbers
come from one generator made of `random_state`, in an order that the docstring states. What learns from a stream has
`partial_fit`. Learners whose parts are modules of PyTorch (kernels of quantum states, replayed samples) use the same
base, and give `kernel` an object whose `block` calls their module; deep kernel machines are modules themselves, and
their learners keep one as `network_`.

The modules of this room import scikit-learn as they start, and `import convnn`, to stay quick, none of them.
"""

from convnn.learners.affine_hull import AffineHullClassifier, KernelAffineHull, optimal_noise
from convnn.learners.deep.images import ConvDKMClassifier
from convnn.learners.deep.machines import DeepKernelMachineClassifier, DeepKernelMachineRegressor
from convnn.learners.deep_random_features import NNGP, MultiLayerRandomFeatures, nngp_kernel
from convnn.learners.dual_components import DualKernelPCA
from convnn.learners.generative_replay import ConditionalVAE, GenerativeKernelContinual
from convnn.learners.hashing import EuclideanHash, Hashed, hashed_product
from convnn.learners.kernels import (
    ArcCosine,
    ExponentialPower,
    Function,
    Gaussian,
    Kernel,
    Laplace,
    Linear,
    Polynomial,
)
from convnn.learners.matrix import Matrix
from convnn.learners.multitask import Latents, MultitaskGPRegressor, Posterior
from convnn.learners.online_newton import SketchedKONSClassifier, SketchedKONSRegressor
from convnn.learners.online_relaxation import OnlineNodeClassifier, relaxed_hinge, water_filling
from convnn.learners.products import Chunked, KernelMatrix, Product
from convnn.learners.projected_descent import EigenProClassifier, EigenProRegressor
from convnn.learners.quantum import AlignedClassifier, CovariantQuantum, alignment
from convnn.learners.spectra import Matern, spectral_power
from convnn.learners.thinning import Coreset, KernelThinning, kernel_thin
from convnn.learners.transformed_ridge import STKClassifier, STKRegressor

__all__ = [
    "NNGP",
    "AffineHullClassifier",
    "AlignedClassifier",
    "ArcCosine",
    "Chunked",
    "ConditionalVAE",
    "ConvDKMClassifier",
    "Coreset",
    "CovariantQuantum",
    "DeepKernelMachineClassifier",
    "DeepKernelMachineRegressor",
    "DualKernelPCA",
    "EigenProClassifier",
    "EigenProRegressor",
    "EuclideanHash",
    "ExponentialPower",
    "Function",
    "Gaussian",
    "GenerativeKernelContinual",
    "Hashed",
    "Kernel",
    "KernelAffineHull",
    "KernelMatrix",
    "KernelThinning",
    "Laplace",
    "Latents",
    "Linear",
    "Matern",
    "Matrix",
    "MultiLayerRandomFeatures",
    "MultitaskGPRegressor",
    "OnlineNodeClassifier",
    "Polynomial",
    "Posterior",
    "Product",
    "STKClassifier",
    "STKRegressor",
    "SketchedKONSClassifier",
    "SketchedKONSRegressor",
    "alignment",
    "hashed_product",
    "kernel_thin",
    "nngp_kernel",
    "optimal_noise",
    "relaxed_hinge",
    "spectral_power",
    "water_filling",
]
