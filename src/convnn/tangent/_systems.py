"""The family of tangent kernels, and its facts."""

from functools import partial

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "tangent",
    "Tangent kernels",
    "A network near its weights is a kernel machine: all training samples are neighbours, the products of gradients"
    " weigh them, and their sum is what the network would predict.",
)

_fact = partial(System, family="tangent", selects="all samples")

register_system(
    _fact(
        number=94,
        name="Tangent kernels by layers",
        weighs="by products of gradients, of each layer by itself",
        aggregates="a sum over the layers",
        paper="arXiv 2205.12372",
        checked=f"{PUBLISHED.split(',')[0]}; Jacobians of torch.func; X X^T + 1 of a linear model",
        where="convnn.tangent.tangent_kernel convnn.tangent.layered_kernels",
    )
)
register_system(
    _fact(
        number=33,
        name="Kernel of the summed logits",
        weighs="by products of gradients of the sum of all outputs",
        aggregates="one linear system for all outputs",
        paper="arXiv 2206.12543",
        checked=f"{PUBLISHED.split(',')[0]}; the full kernel, to which it comes closer with width",
        where="convnn.tangent.tangent_kernel convnn.tangent.tangent_regression",
    )
)
register_system(
    _fact(
        number=32,
        name="Surrogates by trace and projected kernels",
        weighs="by cosines of gradients, traced over the outputs, exact or projected at random",
        aggregates="a logistic regression on the kernel's rows, whose terms attribute a prediction to samples",
        paper="arXiv 2305.14585",
        checked=f"{PUBLISHED.split(',')[0]}; exact kernels of small networks",
        where="convnn.tangent.TangentSurrogate convnn.tangent.tangent_features",
    )
)
register_system(
    System(
        family="tangent",
        number=3,
        name="Tangent kernel of graph networks",
        selects="the nodes within some hops of both nodes",
        weighs="by powers of the adjacency over the number of nodes, which has a limit: a graphon",
        aggregates="a sum over both neighbourhoods in each layer, then the mean of random units, for every weight",
        paper="arXiv 2301.10808",
        checked="numbers of the published kernel of graphs, and of the formulas; wide networks of PyTorch Geometric;"
        " linear ones; the limits of block models",
        where="convnn.tangent.gntk convnn.tangent.gntk_of_graphs convnn.tangent.graphon_sample",
    )
)
