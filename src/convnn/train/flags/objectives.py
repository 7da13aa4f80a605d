"""Flags of what is learned: labels, or who belongs together."""

from dataclasses import dataclass

from convnn.train.flags._flag import DEEPEST, WIDEST, flags_of

flag = flags_of("objectives")

OF_IMAGES = ("infonce", "spectral")
"""Objectives that learn from two views of each image, without labels."""

OF_GRAPHS = ("cgcl", "scgc", "csgcl", "m3s", "clustering", "partitioning", "completion")
"""Objectives on the nodes of a graph: the first three without labels, the others with more than there are."""

OF_CHOICES = ("bpr", "ultra")
"""Objectives that learn to rank items from what users chose."""

OBJECTIVES = ("labels", *OF_IMAGES, *OF_GRAPHS, *OF_CHOICES)


@dataclass(frozen=True)
class ObjectiveFlags:
    """The help of each field describes it."""

    objective: str = flag(
        "labels",
        "what is learned: labels, by --criterion; or without labels which views of images (infonce, spectral) or nodes"
        " of a graph (cgcl, scgc, csgcl) belong together, while the last linear layer alone learns labels, from"
        " features that it does not change; or labels that are added in stages (m3s), or a helper task beside them; or"
        " that what users chose ranks above other items (bpr), and what is chosen together with it, too (ultra)",
        OBJECTIVES,
    )
    contrast_temperature: float = flag(0.1, "temperature of the kernel of infonce, and of csgcl", above=0.0)
    gamma: float = flag(2.0, "power of the distance in this kernel: 2 is a Gaussian, InfoNCE as usual", above=0.0)
    mixture: str = flag(
        "none",
        "mixture of the kernel with a Gaussian: of the losses (sum), of losses of half the columns each (concat), or of"
        " the kernels",
        ("none", "sum", "concat", "kernel"),
    )
    mixture_weight: float = flag(1.0, "weight of the kernel in the mixture, 0 to 1", least=0.0, most=1.0)
    negatives: int | None = flag(
        None,
        "how many of the nearest other images repel each image in infonce; None: all of the batch; or how many items"
        " are drawn against each choice; None: 1 in bpr, 20 in ultra",
        least=1,
    )
    projection_dim: int = flag(128, "channels in which views are compared", least=1, most=WIDEST)
    projection_hidden: int = flag(2048, "channels before them", least=1, most=WIDEST)
    influence_order: int = flag(2, "most steps by which a node influences another in scgc", least=1, most=DEEPEST)
    cosine_factor: float = flag(1.0, "factor of the cosine in scgc", above=0.0)
    contrast_weight: float = flag(2.0, "weight of the contrast of neighbours in scgc", least=0.0)
    cluster_weight: float = flag(0.1, "weight of its clusters", least=0.0)
    stages: int = flag(5, "how often m3s gives labels to the surest nodes, at equal distances", least=1, most=DEEPEST)
    clusters: int = flag(200, "clusters of nodes in m3s and clustering", least=1, most=WIDEST)
    helper_weight: float = flag(
        0.5, "weight of the labels beside clustering and partitioning, or of completion beside the labels", least=0.0
    )
    parts: int = flag(8, "parts of the graph in partitioning", least=1, most=WIDEST)
    completion_dim: int = flag(16, "singular vectors of the features in completion", least=1, most=WIDEST)
    margin: float = flag(0.5, "how far a triple should score above one with a wrong end", least=0.0)
    smoothing: float = flag(
        0.1, "share of the label that goes to all entities where readers complete triples", least=0.0, most=0.99
    )
    drop_edges: str = flag("0.3,0.4", "shares of the edges that csgcl drops in its two views")
    drop_features: str = flag("0.1,0", "shares of the features that it drops")
    team_up: float = flag(1.0, "how much csgcl lets strong communities count in the end", least=0.0)
    team_up_start: int = flag(500, "epoch from which they begin to", least=0)
    embedding_decay: float = flag(
        1e-4, "decay of the embeddings: in bpr of those of the batch, in ultra of all in every step", least=0.0
    )
    negative_weight: float = flag(20.0, "weight of the items drawn in ultra", least=0.0)
    constraint_weight: float = flag(5.0, "weight of items chosen together in ultra", least=0.0)
    item_neighbors: int = flag(10, "how many items ultra takes as chosen together with each", least=1, most=WIDEST)
    choice_weights: str = flag(
        "1e-6,1,1e-6,1", "weights of ultra: of a choice, and by degrees; of an item drawn, and by degrees"
    )
