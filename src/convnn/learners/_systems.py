"""The family of kernel machines, and its facts."""

from functools import partial

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "learners",
    "Kernels without layers",
    "A kernel machine aggregates over all points, or over chosen ones, and a kernel weighs them: estimators for"
    " scikit-learn, on features of yours or of a network.",
)

_fact = partial(System, family="learners")

register_system(
    _fact(
        number=98,
        name="EigenPro 3",
        selects="centres apart from the data, batches, and a sample that preconditions",
        weighs="by a kernel, and by coefficients learned by preconditioned, projected gradients",
        aggregates="a sum over the centres",
        paper="arXiv 2302.02605",
        checked=f"{PUBLISHED.split(',')[0]}, weights after every batch; a dense solve at convergence",
        where="convnn.learners.EigenProRegressor convnn.learners.EigenProClassifier",
    )
)
register_system(
    _fact(
        number=88,
        name="Dual kernel PCA",
        selects="all rows; those of small projections drop out with the insensitive loss",
        weighs="by the dual variables in an orthonormal frame; outliers less with Huber's loss",
        aggregates="a sum of kernels, the projection",
        paper="arXiv 2306.05815",
        checked="the published code, every step, the objective and its gradient; scikit-learn's KernelPCA",
        where="convnn.learners.DualKernelPCA",
    )
)
register_system(
    _fact(
        number=38,
        name="STKR",
        selects="all points with labels and without, or all nodes of a graph",
        weighs="by a kernel whose eigenvalues are transformed: walks of several steps over the points",
        aggregates="a sum of kernels, for new points as well",
        paper="arXiv 2402.00645",
        checked="numbers of the formulas by two routes; scikit-learn's KernelRidge at the identity",
        where="convnn.learners.STKRegressor convnn.learners.STKClassifier",
    )
)
register_system(
    _fact(
        number=72,
        name="Sparse kernel products",
        selects="pairs that share a bucket and have a large kernel; a sample of the other keys",
        weighs="by the kernel of the distance, in the sample over the chance to be drawn",
        aggregates="a sum of both, unbiased",
        paper="arXiv 2507.23539",
        checked="numbers of an independent implementation; the dense product and the formula of the error",
        where="convnn.learners.Hashed convnn.learners.hashed_product",
    )
)

register_system(
    _fact(
        number=53,
        name="Multi-task Gaussian process with interactions",
        selects="all values of all tasks",
        weighs="by spectral mixtures whose latent functions covary, and how much of them is in each task",
        aggregates="the mean and variance of a conditioned Gaussian process",
        paper="arXiv 1808.01132",
        checked="numbers of the formulas; integrals of the spectra; scikit-learn's process at frequency 0",
        where="convnn.learners.MultitaskGPRegressor convnn.learners.Latents",
    )
)
register_system(
    _fact(
        number=100,
        name="KAHM: affine hulls of classes",
        selects="all points of a class, or of its nearest part",
        weighs="by a ridge regression of which point it is, with shares that sum to 1",
        aggregates="the point of the class's affine hull that is nearest; its distance decides",
        paper="arXiv 2304.01300",
        checked="numbers of the formulas by two routes; scikit-learn's KernelRidge of indicators; the law of the noise",
        where="convnn.learners.AffineHullClassifier convnn.learners.KernelAffineHull",
    )
)
register_system(
    _fact(
        number=101,
        name="Covariant quantum kernels",
        selects="all points of fit that are support vectors",
        weighs="by the overlap of two quantum states, which rotations make of one that is learned",
        aggregates="a sum of kernels",
        paper="arXiv 2105.03406",
        checked="the published circuit, states and gradients; products of the gates' matrices; invariances",
        where="convnn.learners.CovariantQuantum convnn.learners.AlignedClassifier",
    )
)
register_system(
    _fact(
        number=40,
        name="Deep kernel machines",
        selects="all points, or inducing points that are learned",
        weighs="by Gram matrices, learned from layer to layer at a cost, and kernels of them",
        aggregates="the mean and variance of a Gaussian process, the limit of infinite width",
        paper="arXiv 2108.13097",
        checked="the published code and formulas, all gradients; scikit-learn's process; the linear optimum",
        where="convnn.learners.DeepKernelMachineRegressor convnn.learners.DeepKernelMachineClassifier",
    )
)
register_system(
    _fact(
        number=10,
        name="Convolutional deep kernel machines",
        selects="a window of each pixel",
        weighs="by inner products with inducing points, mixed over the window, which learned Gram matrices move",
        aggregates="the mean over pixels, then as a deep kernel machine",
        paper="arXiv 2309.09814",
        checked=f"{PUBLISHED.split(',')[0]}, all gradients; loops over taps; wide random convolutions",
        where="convnn.learners.ConvDKMClassifier",
    )
)
