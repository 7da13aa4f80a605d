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
        number=62,
        name="Kernel thinning",
        selects="few of all points: halves by coins that are balanced in a kernel's space, then the best swaps",
        weighs="all alike",
        aggregates="the kernel mean, which stays near that of all points",
        paper="arXiv 2110.01593",
        checked="the published code, every list and discrepancy; the best of all halves of four points",
        where="convnn.learners.KernelThinning convnn.learners.kernel_thin",
    )
)
register_system(
    _fact(
        number=58,
        name="Sketched KONS",
        selects="all points of a stream; for the curvature rows sampled by their leverage",
        weighs="by a kernel, and by coefficients of one Newton step a row",
        aggregates="a sum of kernels, kept between bounds",
        paper="arXiv 1706.04892",
        checked="numbers of an independent implementation; the steps in explicit features, with dense inverses",
        where="convnn.learners.SketchedKONSRegressor convnn.learners.SketchedKONSClassifier",
    )
)
register_system(
    _fact(
        number=109,
        name="Multi-layer random features",
        selects="all points",
        weighs="by the product of their features, the last of several random layers; in the limit by a kernel",
        aggregates="a sum, by a linear model after it",
        paper="arXiv 2404.17461",
        checked="numbers of the formulas; scikit-learn's RBFSampler, RBF, Ridge and KernelRidge; the integrals",
        where="convnn.learners.MultiLayerRandomFeatures convnn.learners.NNGP convnn.learners.nngp_kernel",
    )
)
register_system(
    _fact(
        number=6,
        name="FastONL",
        selects="nodes that pushes reach from the one that is predicted, as far as what is left is large",
        weighs="by a column of a kernel of the graph, such as personalised PageRank",
        aggregates="a signed sum of what earlier labels taught, which water filling turns into probabilities",
        paper="arXiv 2305.16257",
        checked="the published code, every round; the dense inverse; networkx's PageRank",
        where="convnn.learners.OnlineNodeClassifier convnn.ops.local_push.LocalPush",
    )
)
register_system(
    _fact(
        number=80,
        name="Generative kernel continual learning",
        selects="samples of the classes of a task, or of all, which a generator draws",
        weighs="by a kernel between encoder means, and by coefficients of ridge regression",
        aggregates="a sum of kernels; the generator of before replays earlier classes while it learns new ones",
        paper="arXiv 2112.13410",
        checked="numbers of the formulas; scikit-learn's KernelRidge; pytorch-metric-learning's SupConLoss; divergences"
        " of torch.distributions",
        where="convnn.learners.GenerativeKernelContinual convnn.objectives.contrastive.supervised_contrast",
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
