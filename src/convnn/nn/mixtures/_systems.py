"""Facts of the layers on mixtures of Gaussians."""

from convnn.nn.mixtures.convolution import MixtureConv
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_family

register_family(
    "mixtures",
    "Mixtures of Gaussians",
    "Data and kernels are sums of weighted Gaussians; convolution is exact, and what follows it is fitted.",
)
OF_NETWORKS = (
    *("dims", "kernel_components", "components", "radius", "variance", "learn_radius"),
    *("weight_scale", "weight_mean", "ridge"),
)
"""What networks decide for each of their convolutions."""
register_layer(
    "MixtureConv",
    MixtureConv,
    System(
        family="mixtures",
        number=42,
        name="GMCN: convolution of mixtures",
        published="GMCN",
        when="shapes in space, and images, as few Gaussians in place of voxels and pixels",
        selects="components that share a sign and a range of a Morton curve, by halving the heaviest range",
        weighs="the products of the weights of data and kernel; after a fit of the ReLU, the values wanted there",
        aggregates="sums of all pairs' means and covariances; one Gaussian with the moments of each group",
        paper="arXiv 2202.09153",
        checked=f"{PUBLISHED}, and groups; SciPy's convolution on a grid; moments; torch.distributions;"
        " scikit-learn's EM",
        where="convnn.nn.mixtures.MixtureConv convnn.nn.mixtures.MixtureReLU convnn.nn.mixtures.MixtureNorm"
        " convnn.models.MixtureNet convnn.ops.mixtures.reduce",
    ),
    reads="mixtures",
    fixed=OF_NETWORKS,
)
