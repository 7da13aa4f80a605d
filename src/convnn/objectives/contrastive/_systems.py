"""Facts of the contrastive losses and schemes."""

from functools import partial

from convnn.objectives import _systems  # noqa: F401 (the family)
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="objectives")

register_system(
    _fact(
        number=69,
        name="Kernel-InfoNCE",
        selects="the other view of the same object, or the neighbours in a graph; all other rows or a bank repel, or"
        " only the nearest of them",
        weighs="by an exponential kernel of the distance, or a mixture of two",
        aggregates="the logarithm of the sum",
        paper="arXiv 2303.15103",
        checked=f"{PUBLISHED}; pytorch-metric-learning's NTXentLoss; the trace of a Laplacian; blocks and the whole",
        where="convnn.objectives.contrastive.kernel_info_nce convnn.objectives.contrastive.similarity_info_nce"
        " convnn.objectives.contrastive.spectral_contrast convnn.objectives.contrastive.InfoNCE"
        " convnn.objectives.contrastive.Pairs",
    )
)
