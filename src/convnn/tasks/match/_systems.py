"""Facts of the matching systems."""

from functools import partial

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "matching",
    "Matching",
    "Two images, or two graphs: which place of one is which of the other. Neighbours are matches that support each"
    " other, or cells of the other image.",
)
_fact = partial(System, family="matching")
register_system(
    _fact(
        number=105,
        name="CHM: convolutional Hough matching",
        selects="matches whose both ends are within a window of this match's ends, and at a neighbouring scale",
        weighs="by a weight for each geometric relation of two matches",
        aggregates="a sum, a convolution over four or six axes; then the best of both sides",
        paper="arXiv 2103.16831",
        checked=f"{PUBLISHED}, layers, head and transfer of points; scipy.ndimage's correlation; swaps, flips and"
        " turns; two-dimensional convolutions for the entries of the centre pivot",
        where="convnn.nn.matches.CHM4d convnn.nn.matches.CHM6d convnn.nn.matches.CentrePivotConv4d"
        " convnn.nn.matches.HoughMatcher convnn.ops.matches.match_space",
    )
)
register_system(
    _fact(
        number=95,
        name="DKM: kernel regression of places",
        selects="all cells of the other image; then those around a cell's target; then certain matches by chance",
        weighs="by a kernel of the features and the inverse of its Gram matrix; by correlation; by how few are near",
        aggregates="a weighted sum of Fourier features of places; depthwise convolutions that refine the targets",
        paper="arXiv 2202.00667",
        checked=f"{PUBLISHED}, regression, refiner and draws; scikit-learn's Gaussian process and kernel ridge",
        where="convnn.nn.matches.KernelRegressionMatcher convnn.nn.matches.WarpRefiner"
        " convnn.tasks.match.balanced_sample convnn.ops.matches.local_correlation",
    )
)
register_system(
    _fact(
        number=74,
        name="COMMON",
        selects="the annotated pairs of nodes; all other nodes of the batch repel",
        weighs="by what a teacher sees, and how far it believes both ends of an edge",
        aggregates="cross entropy in both directions, and squared differences of edges; an assignment decides",
        paper="arXiv 2212.05085",
        checked=f"{PUBLISHED} of both losses; the loss of CLIP; rotations; loops; scipy's assignment",
        where="convnn.objectives.contrastive.common_nce_loss convnn.objectives.contrastive.quadratic_contrast_loss"
        " convnn.objectives.momentum_teacher.MomentumTeacher convnn.models.NodeMatcher convnn.tasks.match.match",
    )
)
