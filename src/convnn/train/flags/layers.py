"""Flags that layers read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.nn import (
    ACTIVATIONS,
    AGGREGATION_TYPES,
    BASES,
    CONVOLUTION_TYPES,
    DEGREE_TYPES,
    EDGE_TYPES,
    GRAPH_CONVS,
    GROUP_POOLS,
    KAN_ACTIVATIONS,
    KAN_NORMS,
    KERNEL_ACTIVATIONS,
    LIE_GROUPS,
    POOLINGS,
    PREFERENCES,
    SAMPLING_TYPES,
    SCOPES_OF_QUERIES,
    SEARCHES,
    SIMILARITY_TYPES,
    SPARSE_MODES,
    TAP_INITS,
    UPSAMPLINGS,
    USES_OF_FFT,
    WAVELETS,
)
from convnn.ops import METRICS
from convnn.ops.weigh import SOFT_TOPS
from convnn.train.flags._flag import DEEPEST, LARGEST_FACTOR, WIDEST, flags_of
from convnn.train.recipe import LARGEST_SIDE

flag = flags_of("neighbours")


@dataclass(frozen=True)
class LayerFlags:
    """The help of each field describes it."""

    K: int = flag(
        9,
        "number of neighbours of each position, itself included; 0 (torchvision, timm): as many as the replaced window",
        most=LARGEST_SIDE**2,
    )
    sampling_type: str = flag("all", "which positions are candidates", SAMPLING_TYPES)
    num_samples: int = flag(
        -1, "number of random candidates, or side of the spatial grid; -1: all", least=-1, most=LARGEST_SIDE**2
    )
    sample_padding: int = flag(0, "distance of the spatial grid from the border, in pixels", least=0, most=LARGEST_SIDE)
    metric: str = flag("cosine", "metric of the neighbour search", METRICS)
    similarity_type: str = flag("Col", "features (Col), coordinates (Loc) or both", SIMILARITY_TYPES)
    aggregation_type: str = flag("Col", "convolve features, or features and coordinates", AGGREGATION_TYPES)
    lambda_param: float = flag(0.5, "weight of the features in similarity Loc_Col, 0 to 1", least=0.0, most=1.0)
    raster_order: bool = flag(False, "order neighbours by raster position instead of best first")
    search: str = flag("exact", "compare all candidates, or those in a few clusters", SEARCHES)
    recall: float = flag(
        0.95, "share of the neighbours that the clustered search should find, 0 to 1", least=0.0, most=1.0
    )
    probes: int = flag(
        -1, "clusters that each position searches, instead of a recall; -1: by --recall", least=-1, most=LARGEST_SIDE**2
    )
    lists: int = flag(
        -1, "number of clusters; -1: twice the square root of the candidates", least=-1, most=LARGEST_SIDE**2
    )
    reach: int = flag(
        1, "how far beyond the window the outer slots of ConvNN_Pos search, in pixels", least=0, most=LARGEST_SIDE
    )
    choosing: float = flag(0.5, "share of ConvNN_Pos's channels with chosen neighbours, 0 to 1", least=0.0, most=1.0)
    prefer: str = flag("like", "which candidate each slot of ConvNN_Pos chooses", PREFERENCES)
    shuffle_pattern: str = flag("NA", "pixel shuffle before and after (BA), or none (NA)", ("BA", "NA"))
    shuffle_scale: int = flag(0, "factor of the pixel shuffle along each axis", least=0, most=LARGEST_SIDE)
    branch_ratio: float = flag(0.5, "share of the channels that a layer's branch computes, 0 to 1", least=0.0, most=1.0)
    attention_dropout: float = flag(0.1, "dropout in attention layers, 0 to 1", least=0.0, most=1.0)
    convolution_type: str = flag("depthwise", "kernel of ConvNNAttention over K", CONVOLUTION_TYPES)
    softmax_topk_val: bool = flag(True, "weigh neighbours of ConvNNAttention by softmax, not by score")
    coordinate_encoding: bool = flag(False, "add token coordinates to ConvNNAttention")
    sparse_mode: str = flag("all", "which tokens SparseAttention attends to", SPARSE_MODES)
    sparse_context_window: int = flag(
        128, "window or stride of SparseAttention, in tokens", least=1, most=LARGEST_SIDE**2
    )
    mass: float | None = flag(
        None,
        "share of the attention of means up to which BlockSparseAttention opens blocks, 0 to 1; None: a quarter",
        least=0.0,
        most=1.0,
    )
    special_tokens: int = flag(0, "first tokens that it leaves out of blocks; 1 for ViT's class token", least=0)
    window_side: int = flag(7, "side of GlobalContext's windows, in patches", least=1, most=LARGEST_SIDE)
    scope: str = flag("global", "whose queries it has: the image's or its patches'", SCOPES_OF_QUERIES)
    query_poolings: int = flag(1, "how often it halves the image for its queries", least=0, most=DEEPEST)
    graph_conv: str = flag("max_relative", "graph convolution of ViG", GRAPH_CONVS)
    graph_dilation: int = flag(
        1, "ViG and EdgeConv keep every n-th of the nearest neighbours", least=1, most=LARGEST_SIDE
    )
    reduction: int = flag(
        1, "pooling of the candidates of ViG and EdgeConv: side of the cells", least=1, most=LARGEST_SIDE
    )
    relative_side: int = flag(
        0,
        "side of the map of position codes in the search of ViG and EdgeConv; 0: no codes",
        least=0,
        most=LARGEST_SIDE,
    )
    mlp_layers: int = flag(1, "number of linear layers of EdgeConv's MLP", least=1, most=DEEPEST)
    edge_norm: bool = flag(False, "batch normalisation in the MLPs of EdgeConv and ViG's sage")
    edge_activation: str = flag(
        "relu", "activation in these MLPs, and of the messages of SIRGCN and SINCGCN", tuple(ACTIVATIONS)
    )
    scale_features: bool = flag(False, "normalise features to length 1 in the search of EdgeConv")
    step: int = flag(2, "distance between neighbours in SVGA, MGC and DAGC, in positions", least=1, most=LARGEST_SIDE)
    positional_size: int = flag(
        0,
        "window of the positional encoding before layers of other papers, an odd number; 0: none",
        least=0,
        most=LARGEST_SIDE,
    )
    head_channels: int = flag(
        32, "channels per head of GKEDM, and the smallest number of NeighborhoodAttention2d", least=1, most=WIDEST
    )
    relative_bias: bool = flag(True, "learn a relative position bias in NeighborhoodAttention2d")
    attention_dilation: int = flag(1, "dilation of the windows of NeighborhoodAttention2d", least=1, most=LARGEST_SIDE)
    qk_scale: float | None = flag(
        None, "scale of the inner products in NeighborhoodAttention2d; None: 1 / sqrt(channels per head)", above=0.0
    )
    edge_type: str = flag("distance", "how AdaptiveNeighborhoods ranks the positions of a window", EDGE_TYPES)
    degree_type: str = flag(
        "features", "input from which AdaptiveNeighborhoods predicts the number of neighbours", DEGREE_TYPES
    )
    stochastic_degree: bool = flag(False, "AdaptiveNeighborhoods samples that number in training")
    keeping: str = flag("scaled", "how the edge weights of AdaptiveNeighborhoods depend on the scores", SOFT_TOPS)
    pooling: str = flag("mean", "how AdaptiveNeighborhoods aggregates its neighbours", POOLINGS)
    latent_channels: int = flag(64, "embedding channels of AdaptiveNeighborhoods and CatGCN", least=1, most=WIDEST)
    square_kernel_size: int = flag(3, "side of InceptionDW's square kernel", least=1, most=LARGEST_SIDE)
    band_kernel_size: int = flag(11, "length of InceptionDW's wide and tall kernels", least=1, most=LARGEST_SIDE)
    kernel_dilation: int = flag(
        1, "distance between the taps of a layer's kernels, in positions", least=1, most=LARGEST_SIDE
    )
    kernel_sizes: str = flag("1,3,5", "sides of MultiKernelDW's kernels, separated by commas")
    expansion_factor: float = flag(
        2.0, "ratio of channels under MultiKernelDW's kernels to those it reads", above=0.0, most=LARGEST_FACTOR
    )
    activation: str = flag("relu6", "activation in MultiKernelDW", tuple(KERNEL_ACTIVATIONS))
    dw_parallel: bool = flag(True, "MultiKernelDW's kernels all read the same map")
    add: bool = flag(True, "sum the outputs of MultiKernelDW's kernels instead of concatenating them")
    shortcut: bool = flag(True, "add the input of a layer with a shortcut to its output")
    level: int = flag(2, "how often RecConv halves the map", least=0, most=DEEPEST)
    upsampling: str = flag("bilinear", "how RecConv enlarges maps", UPSAMPLINGS)
    kernel_bias: bool = flag(False, "learn a bias for the kernels of RecConv, LKCA and LKCAttention too")
    k_conv: str = flag("1,15", "sides of SuperKernel's kernels, separated by commas")
    kernels: int = flag(
        0, "number of LKCA's kernels; 0: one for each channel, or of tokens each head", least=0, most=WIDEST
    )
    basis: str = flag("spline", "functions of the channels that KANConv convolves", BASES)
    degree: int = flag(3, "degree of KANConv's last polynomial", least=1, most=DEEPEST)
    spline_order: int = flag(
        3, "order of KANConv's splines; with relu, neighbours that a bump overlaps", least=0, most=DEEPEST
    )
    grid_size: int = flag(
        0, "number of intervals or Gaussians of KANConv; 0: 5 intervals, 8 Gaussians", least=0, most=DEEPEST
    )
    grid_range: str = flag("", "ends of KANConv's range, such as -1,1; empty: -1,1, with rbf -2,2")
    wavelet_type: str = flag("mexican_hat", "wavelet of KANConv", tuple(WAVELETS))
    base_activation: str = flag(
        "usual", "activation before the convolution beside KANConv's functions", KAN_ACTIVATIONS
    )
    norm_layer: str = flag("usual", "normalisation in KANConv", KAN_NORMS)
    activate: bool = flag(False, "end KANConv in the activation published with its basis")
    lie_group: str = flag("sl2", "linear maps by which LieConv's kernel is moved", LIE_GROUPS)
    num_gsamples: int = flag(10, "number of these maps", least=1, most=WIDEST)
    group_pool: str = flag("max", "how LieConv pools over them", GROUP_POOLS)
    kernel_hidden: int = flag(60, "width of the function that gives LieConv's kernel", least=1, most=WIDEST)
    big_kernel: int = flag(51, "length of ShiftWise's bands of small kernels", least=1, most=LARGEST_SIDE)
    ghost_ratio: float = flag(0.23, "share of ShiftWise's channels without a kernel, 0 to 1", least=0.0, most=1.0)
    N_path: int = flag(2, "number of kernels that are summed to a small one of ShiftWise", least=1, most=DEEPEST)
    N_rep: int = flag(4, "number of orders of the small kernels in ShiftWise's bands", least=1, most=DEEPEST)
    band_norm: bool = flag(True, "normalise the bands of ShiftWise")
    experts: int = flag(4, "number of kernels that CondConv mixes for every image", least=1, most=WIDEST)
    frequency_groups: int = flag(
        4, "groups of frequencies of FDConv's kernel, of which each has a share of its own", least=1, most=WIDEST
    )
    sparsity: float = flag(
        0.0, "share of ShiftWise's small kernels that training prunes, published: 0.3", least=0.0, most=1.0
    )
    small_kernel: int = flag(
        5, "side of the small kernels of RepLK, 0: without one, and of ShiftWise", least=0, most=LARGEST_SIDE
    )
    horizon: str = flag("33", "number of taps of a generated kernel, or same, full: those of the map")
    no_hidden: int = flag(32, "width of the network that generates a kernel", least=1, most=WIDEST)
    no_layers: int = flag(3, "number of its layers", least=1, most=DEEPEST)
    omega_0: float = flag(30.0, "frequency of its sines", above=0)
    weight_norm: bool = flag(False, "learn length and direction of its weights, as published for signals")
    weight_dropout: float = flag(
        0.0, "share of a generated kernel that is left out in training, 0 to 1", least=0.0, most=1.0
    )
    n_points: int | None = flag(
        16, "number of points of SMPConv, of every output; None: a quarter of the taps", least=1, most=WIDEST
    )
    radius: float | None = flag(None, "initial radius of SMPConv's points; None: 4 / horizon", above=0)
    coord_std: float = flag(0.05, "standard deviation of the initial places of SMPConv's points", above=0)
    input_scale: float = flag(25.6, "initial frequency of FlexConv's filters", above=0)
    mask_init_value: float = flag(
        0.075, "initial width of the learned Gaussian, as a share of half the horizon", above=0
    )
    mask_threshold: float = flag(
        0.1, "value of the Gaussian below which taps are left out, 0 to 1", least=0.0, most=1.0
    )
    l_max: int = flag(
        1024, "number of lags of a long convolution, the positions of the largest map", least=1, most=LARGEST_SIDE**2
    )
    kernel_dim: int = flag(32, "number of values of each of SGConv's blocks", least=1, most=WIDEST)
    n_scales: int | None = flag(
        None, "number of SGConv's blocks; None: as many as cover --l_max", least=1, most=DEEPEST
    )
    decay_min: float = flag(2.0, "factor between a block of SGConv and the next, in the first channel")
    decay_max: float = flag(2.0, "and in the last channel")
    kernel_mode: str = flag("cat_randn", "how SGConv's blocks are joined and start, such as sum_cos")
    bidirectional: bool = flag(True, "long convolutions read positions before and after")
    lam: float = flag(0.001, "how much every tap of LongConv is brought nearer to 0, 0 to 1", least=0.0, most=1.0)
    ma_window_len: int = flag(
        0, "width of a moving average over LongConv's taps; 0: none", least=0, most=LARGEST_SIDE**2
    )
    smooth_freq: bool = flag(False, "average the spectrum of LongConv's taps instead")
    weight_init: str = flag("random", "initial taps of LongConv", TAP_INITS)
    use_fft: str = flag("auto", "whether a generated kernel is applied by FFT", USES_OF_FFT)
