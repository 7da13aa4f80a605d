"""Flags that networks and layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.models import HIDDEN_ACTIVATIONS, NODE_NORMS, READOUTS, RESIDUALS
from convnn.nn.graphs.patches.mixing import MIXINGS
from convnn.nn.graphs.spectra.choices import DAMPINGS, HOLO_BASES, HOMOPHILIES, ORTHONORMAL, POWER_DAMPINGS, SUPPORTS
from convnn.nn.triples import DISSIMILARITIES
from convnn.train.flags._flag import DEEPEST, WIDEST, flags_of

flag = flags_of("graphs")


@dataclass(frozen=True)
class GraphLayerFlags:
    """The help of each field describes it."""

    hidden_activation: str = flag("relu", "activation between the layers of gnn", tuple(HIDDEN_ACTIVATIONS))
    node_norm: str = flag("none", "normalisation before it", tuple(NODE_NORMS))
    residual: str = flag(
        "none", "what the layers of gnn add to: nothing, their input, or (res+) with the norm first", RESIDUALS
    )
    linear_head: bool = flag(False, "end gnn in a linear map, after as many layers")
    readout: str = flag(
        "mean", "how gnn pools the nodes of each graph, and graph_patches those of each patch", READOUTS
    )
    attention_heads: int = flag(1, "number of heads of GAT", least=1, most=WIDEST)
    hops: int = flag(2, "number of propagations, or degree of a polynomial of the graph", least=0, most=DEEPEST)
    delta: float = flag(1.0, "length of TV's step down the total variation")
    eps: float = flag(1e-3, "smallest distance of neighbours in TV", above=0.0)
    act: str = flag("relu", "activation of TV", ("relu", "elu", "gelu", "tanh", "leaky_relu"))
    num_mixtures: int = flag(8, "number of components of Fisher's mixture", least=1, most=WIDEST)
    subtract_mean: bool = flag(True, "subtract the mean of each component in Fisher")
    projection: str = flag("kernel", "what follows Fisher's embedding", ("kernel", "relu"))
    kernel: str = flag("exp", "kernel of this projection", ("exp", "linear"))
    sigma: float = flag(0.5, "width of its exponential kernel", above=0.0)
    use_degree: bool = flag(False, "multiply by the logarithm of the degree in Fisher")
    attention: str = flag("softmax", "weights of Fisher: softmax of the posterior, or itself", ("softmax", "posterior"))
    ego_sizes: str = flag("1", "sizes of SPEN's ego networks with weights of their own, such as 2,3,4")
    aggr: str = flag(
        "sum", "how messages are aggregated: sum, mean, max; in GEN also softmax, power; in SIRGCN sym, by degrees"
    )
    t: float = flag(1.0, "inverse temperature of the softmax over messages", least=0.0)
    learn_t: bool = flag(False, "learn it")
    p: float = flag(1.0, "power of the power mean of messages", above=0.0)
    learn_p: bool = flag(False, "learn it")
    learn_y: bool = flag(False, "learn the exponent of the degree in softmax_sum and power_sum, at first a half")
    msg_norm: bool = flag(False, "scale messages to the length of the node's features")
    learn_msg_scale: bool = flag(True, "learn a factor of that length")
    aggregators: str = flag("mean,max,min,std", "statistics of PNA, separated by commas; also sum and var")
    scalers: str = flag(
        "identity,amplification,attenuation", "functions of the degree that scale them; also linear and inverse_linear"
    )
    towers: int = flag(1, "number of maps side by side in PNA", least=1, most=WIDEST)
    pre_layers: int = flag(1, "number of linear layers before PNA's statistics", least=1, most=DEEPEST)
    post_layers: int = flag(1, "number of linear layers after them", least=1, most=DEEPEST)
    divide_input: bool = flag(False, "divide the channels among the towers of PNA")
    damping: str = flag("jackson", "how the terms of ChebGibbs are damped against oscillations", DAMPINGS)
    homophily: str = flag("auto", "whether neighbours are alike, the sign of ChebGibbs's filter", HOMOPHILIES)
    out_weight: float = flag(0.5, "weight of out-neighbours in Holo; in-neighbours have the rest", least=0.0, most=1.0)
    degree_exponent: float = flag(-0.25, "power of the degrees in Holo, negative")
    power_damping: str = flag("exp", "how the powers of the graph are damped in Holo", POWER_DAMPINGS)
    zero_order: bool = flag(False, "Holo begins with the features themselves")
    holo_basis: str = flag(
        "powers", "whose powers Holo learns a polynomial of: the graph's or its resolvent's", HOLO_BASES
    )
    orthonormal: str = flag("bjorck", "how GCORN makes a weight orthonormal", ORTHONORMAL)
    bjorck_order: int = flag(2, "order of the iteration that does", least=1, most=3)
    bjorck_steps: int = flag(25, "number of its steps", least=1, most=DEEPEST)
    exponents: str = flag("-0.3,-0.35,-0.4", "powers of the degrees in PDF's matrices, separated by commas")
    support: str = flag("sparse", "which pairs of nodes PDF's filter connects: near ones or all", SUPPORTS)
    support_hops: int = flag(1, "number of edges between near ones", least=1, most=DEEPEST)
    normalize_bases: bool = flag(False, "standardise PDF's bases over the pairs")
    linear_filter: bool = flag(False, "PDF's filter is linear instead of an MLP")
    shared_filter: bool = flag(False, "PDF has one filter for all channels")
    edge_softmax: bool = flag(True, "scale PDF's filter to the sum 1 over the neighbours of a node")
    hidden_channels: int | None = flag(
        None, "channels of the messages of SIRGCN and SINCGCN; None: those of the output", least=1, most=WIDEST
    )
    context_aggr: str = flag("sum", "how SINCGCN puts together the neighbourhood that messages see: as --aggr")
    heads: int = flag(4, "number of heads of GKEDM, each of --head_channels", least=1, most=WIDEST)
    probe: float = flag(
        1.0, "how much a category of CatGCN counts beside the others: more is less interaction", least=0.0
    )
    balance: float = flag(
        0.5, "share of CatGCN's global part, 0 to 1; the rest are products of pairs", least=0.0, most=1.0
    )
    num_patches: int = flag(32, "patches of each graph in graph_patches", least=1, most=WIDEST)
    patch_hops: int = flag(1, "how many edges a patch reaches beyond its part", least=0, most=DEEPEST)
    partition_drop: float = flag(
        0.3, "share of the edges left out in training while the parts grow, 0 to 1", least=0.0, most=1.0
    )
    mixing: str = flag("mlp", "how patches are mixed: by an MLP, or by attention and what it knows", MIXINGS)
    num_mixers: int = flag(4, "number of blocks that mix them", least=0, most=DEEPEST)
    mixer_dropout: float = flag(0.0, "dropout in these blocks, 0 to 1", least=0.0, most=1.0)
    diffusion: int = flag(
        0, "steps of a walk on the graph of patches that attention knows; 0: shared nodes", least=0, most=DEEPEST
    )
    walk_dim: int = flag(0, "length of the walks that tell nodes where they are; 0: none", least=0, most=DEEPEST)
    eigenvector_dim: int = flag(0, "number of eigenvectors that do; 0: none", least=0, most=DEEPEST)
    dissimilarity: str = flag(
        "L2", "distance by which transe and toruse score triples; eL2, on circles, is for toruse alone", DISSIMILARITIES
    )
    relation_dim: int | None = flag(
        None, "channels of a relation in transr; None: as many as an entity has", least=1, most=WIDEST
    )
    mlp_experts: int = flag(
        0, "networks in each block of statement_reader, of which each token has few; 0: one", least=0, most=WIDEST
    )
    top_experts: int = flag(2, "how many of them each token has", least=1, most=WIDEST)
    board_channels: int = flag(
        16, "filters by which statement_reader convolves a pair of vectors on a board", least=1, most=WIDEST
    )
    board_kernel: int = flag(3, "side of these filters, odd", least=1, most=DEEPEST)
    neighbor_statements: int = flag(
        3, "statements of neighbours that statement_reader reads beside each in training; 0: none", least=0, most=WIDEST
    )
    cross_layers: int = flag(
        1, "blocks in which the query of subgraph_reader attends to the subgraph", least=0, most=DEEPEST
    )
    subgraph_size: int = flag(12, "most triples in its subgraph", least=1, most=WIDEST)
    subgraph_draws: int = flag(6, "most of them that are drawn of one entity", least=1, most=WIDEST)
    patch_walk_dim: int = flag(8, "length of the walks that tell patches where they are", least=0, most=DEEPEST)
    keep_prob: float = flag(1.0, "share of the interactions that LightGCN keeps in each step", above=0.0, most=1.0)
    user_frequencies: int = flag(100, "number of smooth vectors of users in LCFN", least=1, most=WIDEST)
    item_frequencies: int = flag(50, "number of those of items", least=1, most=WIDEST)
    weigh_hyperedges: bool = flag(False, "users and items of many interactions count less in these vectors")
