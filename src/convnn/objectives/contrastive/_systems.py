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
register_system(
    _fact(
        number=77,
        name="SCGC",
        selects="all nodes that walks of a few steps reach",
        weighs="by how likely they end there",
        aggregates="the share of these in the softmax of all, its logarithm; the encoder never sees the graph",
        paper="arXiv 2204.12656",
        checked=f"{PUBLISHED}; cross entropy for one-hot weights; log-sum-exp; DEC's divergence in loops; published"
        " scores are of the epoch that is best by the true labels, those here of the last",
        where="convnn.objectives.contrastive.neighbor_contrast convnn.objectives.contrastive.SCGCLoss"
        " convnn.objectives.contrastive.SCGC convnn.objectives.contrastive.clustering_kl"
        " convnn.ops.influence.influence_matrix",
    )
)
register_system(
    _fact(
        number=115,
        name="CSGCL",
        selects="the other view of the node; views spare edges of strong communities and features that these have",
        weighs="by the strength of the node's community, its share of the modularity",
        aggregates="the logarithm of the sum over both views",
        paper="arXiv 2305.04658",
        checked=f"{PUBLISHED}; networkx's modularity; pytorch-metric-learning's NTXentLoss",
        where="convnn.objectives.contrastive.team_up_loss convnn.objectives.contrastive.CSGCLLoss"
        " convnn.graphs.communities.community_strength convnn.graphs.communities.communal_edge_dropping"
        " convnn.graphs.communities.communal_attribute_voting convnn.nn.graphs.GCNEncoder",
    )
)
register_system(
    _fact(
        number=45,
        name="CoCo",
        selects="the same graph seen by the other branch; for one without a label, labelled ones of its supposed class",
        weighs="by the cosine of embeddings, one branch's with the other's",
        aggregates="the logarithm of the softmax, as a mean over positives",
        paper="arXiv 2306.04979",
        checked="the numbers of its definition, all gradients; pytorch-metric-learning's NTXentLoss and SupConLoss",
        where="convnn.objectives.contrastive.cross_branch_loss convnn.objectives.contrastive.cross_domain_loss"
        " convnn.objectives.contrastive.CoCoLoss convnn.nn.graphs.CoCo",
    )
)
