"""Facts of self-training."""

from functools import partial

from convnn.objectives import _systems  # noqa: F401 (the family)
from convnn.systems import System, register_system

_fact = partial(System, family="objectives")

register_system(
    _fact(
        name="CGCL: cross-view links",
        number=66,
        selects="one of two halves of the edges, drawn anew in each epoch",
        weighs="by the degrees of both ends, or as the network does",
        aggregates="a network's features, whose products tell the edges of the other half from absent ones",
        paper="arXiv 2311.11821",
        checked="the published code, views, logits, losses and all gradients; PyTorch Geometric's GCNConv and GAE",
        where="convnn.objectives.self_training.CrossView convnn.graphs.views.complementary_views",
    )
)
register_system(
    _fact(
        name="M3S: multi-stage self-training",
        number=70,
        selects="between the stages of training, the nodes of each class of which the network is surest",
        weighs="1 where the class whose centroid is nearest to that of the node's cluster agrees, or else 0",
        aggregates="as the network does, trained anew on the labels that were given and those that were added",
        paper="arXiv 1902.11038",
        checked="the published code, whole stages; scikit-learn's NearestCentroid; the choice of nodes in loops",
        where="convnn.objectives.self_training.M3S convnn.objectives.self_training.GrowingLabels"
        " convnn.objectives.self_training.align_clusters",
    )
)
register_system(
    _fact(
        name="SS-GCN: helper tasks",
        number=79,
        selects="the neighbours; for completions without the node itself",
        weighs="by the degrees of both ends",
        aggregates="features with two linear heads, for labels and for clusters, parts or singular vectors",
        paper="arXiv 2006.09136",
        checked="the published code, losses and all gradients; stacks of PyTorch Geometric's GCNConv; numpy's singular"
        " vectors",
        where="convnn.objectives.self_training.HelperTask convnn.objectives.self_training.MultiTaskGCN",
    )
)
