"""The configuration of a run: the published flags with their names and defaults, and further flags."""

import os
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from convnn.data import DATASETS, FITS, ON_BAD_IMAGE, RASTERS, READERS, REGRESSIONS
from convnn.errors import InputError, check_choice
from convnn.files import expand_home
from convnn.models import (
    check_layer,
    check_model,
    default_layer,
    is_external,
    layer_defaults,
    list_models,
    model_settings,
    reads_of,
)
from convnn.models.external import replacement_settings
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
    LAYERS,
    LIE_GROUPS,
    POOLINGS,
    PREFERENCES,
    SAMPLING_TYPES,
    SEARCHES,
    SIMILARITY_TYPES,
    SPARSE_MODES,
    TAP_INITS,
    UPSAMPLINGS,
    USES_OF_FFT,
    WAVELETS,
    list_layers,
)
from convnn.nn._extensions import import_names
from convnn.nn.replace import SCOPES
from convnn.ops import BACKEND_CHOICES, METRICS
from convnn.ops.weigh import SOFT_TOPS
from convnn.train.limits import check_limits
from convnn.train.timer import parse_interval

PUBLISHED_NAMES = {"magnitude_type": "metric"}
"""Published names of flags that have another name here; both are accepted, on the command line and in files."""

ANY_OTHER = "torchvision:"
"""A name that stands for all networks of other libraries."""

TOKEN_DEFAULTS = {
    "metric": "matmul",
    "kernel_size": 9,
    "resize": 224,
    "lr": 5e-4,
    "weight_decay": 5e-2,
    "scheduler": "cosine",
}
"""Defaults of the published ViT that differ from those of the convolutional networks."""

SEQUENCE_DEFAULTS = {"dataset": "sequential_cifar10"}
"""Defaults of the networks on sequences that differ from those of the networks on images."""

REGRESSION_DEFAULTS = {"criterion": "MSE"}
"""Defaults of the data sets whose labels are numbers."""

PUBLISHED_FOLDERS = {("vgg11", "ConvNN"): "./Output/VGG/ConvNN", ("vit", "Attention"): "./Output/VIT/VIT_Attention"}
"""Default output folders by network and layer; all others are named after both."""


def flag(
    default: Any,
    group: str,
    text: str,
    choices: tuple[str, ...] | Callable[[], list[str]] | None = None,
    *,
    without_value: str | int | None = None,
    is_path: bool = False,
    option: str | None = None,
) -> Any:
    """Define a field that is a command line flag.

    Args:
        default, group, text: its default, the group of flags it belongs to, and its help.
        choices: its values, or a function that lists them.
        without_value: its value if it is given without one.
        is_path: whether it names a file or folder.
        option: its name on the command line, where it may be repeated; None is the name of the field.
    """
    metadata = {"group": group, "help": text, "choices": choices, "without_value": without_value, "is_path": is_path}
    return field(default=default, metadata=metadata | {"option": option})


def choices_of(f: "Field[Any]") -> tuple[str, ...]:
    """Return the values of a flag with a fixed set of values, including layers imported so far."""
    choices = f.metadata["choices"]
    return tuple(choices() if callable(choices) else choices or ())


def option_of(f: "Field[Any]") -> str:
    """Return the name of a flag on the command line."""
    return f.metadata["option"] or f"--{f.name}"


OF_THE_MACHINE = "backend"
"""What layers read, but no run depends on."""


def layer_settings() -> list[str]:
    """Return the flags that at least one layer reads, in the order of the flags: the settings in layer signatures."""
    read = {name for entry in LAYERS.values() for name in entry.settings} - {OF_THE_MACHINE}
    return [f.name for f in fields(TrainConfig) if f.name in read]


def network_settings() -> list[str]:
    """Return the flags that at least one network reads, but no layer."""
    read = {name for model in (*list_models(), ANY_OTHER) for name in model_settings(model)}
    of_layers = set(layer_settings())
    return [f.name for f in fields(TrainConfig) if f.name in read and f.name not in of_layers]


def is_setting(name: str) -> bool:
    """Return whether a flag is a setting of a network or layer, and not of the data or the training."""
    if name == OF_THE_MACHINE:
        return False
    return any(name in entry.settings for entry in LAYERS.values()) or any(
        name in model_settings(model) for model in (*list_models(), ANY_OTHER)
    )


def defaults_of(model: str, layer: str | None = None) -> dict[str, Any]:
    """Return the defaults that depend on the network and layer; None is the network's default layer."""
    layer = layer or default_layer(model)
    flags = {f.name for f in fields(TrainConfig)}
    of_layer = {name: value for name, value in layer_defaults(model, layer).items() if name in flags}
    of_model = {name: value for name, value in model_settings(model).items() if name in flags}
    of_tokens = TOKEN_DEFAULTS if LAYERS[default_layer(model)].reads == "tokens" else {}
    of_sequences = SEQUENCE_DEFAULTS if reads_of(model) == "sequences" else {}
    folder = PUBLISHED_FOLDERS.get((model, layer), f"./Output/{model.replace(':', '_')}/{layer}")
    return of_tokens | of_layer | of_model | of_sequences | {"layer": layer, "output_dir": folder}


@dataclass(frozen=True, init=False)
class TrainConfig:
    """The flags of `convnn train`; the help of each field describes it.

    A flag that is not given has the default of the data set, of the network and its layer, `defaults_of(model, layer)`,
    or else that of its field.

    Raises:
        InputError: a value is unknown or out of range; the message names the flag.
        TypeError: a flag does not exist.
    """

    model: str = flag("vgg11", "network", "architecture: a name from convnn models, torchvision:NAME or timm:NAME")
    layer: str = flag("ConvNN", "network", "layer it is built from", list_layers)
    imports: str | None = flag(
        None, "network", "module or .py file that registers layers; may be repeated", option="--import"
    )
    where: str = flag("*", "network", "pattern of the layers that --layer replaces in a network of torchvision or timm")
    pretrained: bool = flag(False, "network", "start from pretrained weights, for networks of torchvision and timm")
    share_kernels: str = flag(
        "none",
        "network",
        "layers of one shape use one kernel: those of a stage, or of the whole model",
        SCOPES,
        without_value="stage",
    )
    width: float = flag(1.0, "network", "factor on all channel numbers; 1 is the published network")
    dropout: float = flag(0.5, "network", "dropout before linear layers, 0 to 1")
    patch_size: int = flag(16, "network", "patch size of ViT in pixels")
    num_layers: int = flag(12, "network", "number of blocks of ViT, and of networks on sequences")
    num_heads: int = flag(3, "network", "number of heads of layers on tokens")
    d_hidden: int = flag(192, "network", "width of ViT's tokens, and channels of networks on sequences")
    d_mlp: int = flag(768, "network", "hidden dimension of the MLPs of ViT")
    image_size: int = flag(224, "network", "image size for which mobilevigv2 and greedyvig scale their steps")
    drop_path: float = flag(0.1, "network", "stochastic depth rate of the last block of networks of four stages")
    layer_scale: float = flag(1e-6, "network", "initial factor of what their blocks add, where it is learned")
    layer_dropout: float = flag(0.0, "network", "dropout of channels in all layers of kan4 and kan8 but the first")
    kan_groups: int = flag(1, "network", "blocks of channels that do not mix in these layers")
    kernel_size: int = flag(3, "network", "kernel size of convolutions")
    padding: int = flag(1, "network", "zero padding of the map in which neighbours are searched")

    K: int = flag(
        9,
        "neighbours",
        "number of neighbours of each position, itself included; 0 (torchvision, timm): as many as the replaced window",
    )
    sampling_type: str = flag("all", "neighbours", "which positions are candidates", SAMPLING_TYPES)
    num_samples: int = flag(-1, "neighbours", "number of random candidates, or side of the spatial grid; -1: all")
    sample_padding: int = flag(0, "neighbours", "distance of the spatial grid from the border, in pixels")
    metric: str = flag("cosine", "neighbours", "metric of the neighbour search", METRICS)
    similarity_type: str = flag("Col", "neighbours", "features (Col), coordinates (Loc) or both", SIMILARITY_TYPES)
    aggregation_type: str = flag(
        "Col", "neighbours", "convolve features, or features and coordinates", AGGREGATION_TYPES
    )
    lambda_param: float = flag(0.5, "neighbours", "weight of the features in similarity Loc_Col, 0 to 1")
    raster_order: bool = flag(False, "neighbours", "order neighbours by raster position instead of best first")
    search: str = flag("exact", "neighbours", "compare all candidates, or those in a few clusters", SEARCHES)
    recall: float = flag(0.95, "neighbours", "share of the neighbours that the clustered search should find, 0 to 1")
    probes: int = flag(-1, "neighbours", "clusters that each position searches, instead of a recall; -1: by --recall")
    lists: int = flag(-1, "neighbours", "number of clusters; -1: twice the square root of the candidates")
    reach: int = flag(1, "neighbours", "how far beyond the window the outer slots of ConvNN_Pos search, in pixels")
    choosing: float = flag(0.5, "neighbours", "share of ConvNN_Pos's channels with chosen neighbours, 0 to 1")
    prefer: str = flag("like", "neighbours", "which candidate each slot of ConvNN_Pos chooses", PREFERENCES)
    shuffle_pattern: str = flag("NA", "neighbours", "pixel shuffle before and after (BA), or none (NA)", ("BA", "NA"))
    shuffle_scale: int = flag(0, "neighbours", "factor of the pixel shuffle along each axis")
    branch_ratio: float = flag(0.5, "neighbours", "share of the channels that a layer's branch computes, 0 to 1")
    attention_dropout: float = flag(0.1, "neighbours", "dropout in attention layers, 0 to 1")
    convolution_type: str = flag("depthwise", "neighbours", "kernel of ConvNNAttention over K", CONVOLUTION_TYPES)
    softmax_topk_val: bool = flag(True, "neighbours", "weigh neighbours of ConvNNAttention by softmax, not by score")
    coordinate_encoding: bool = flag(False, "neighbours", "add token coordinates to ConvNNAttention")
    sparse_mode: str = flag("all", "neighbours", "which tokens SparseAttention attends to", SPARSE_MODES)
    sparse_context_window: int = flag(128, "neighbours", "window or stride of SparseAttention, in tokens")
    mass: float | None = flag(
        None,
        "neighbours",
        "share of the attention of means up to which BlockSparseAttention opens blocks, 0 to 1; None: a quarter",
    )
    special_tokens: int = flag(0, "neighbours", "first tokens that it leaves out of blocks; 1 for ViT's class token")
    graph_conv: str = flag("max_relative", "neighbours", "graph convolution of ViG", GRAPH_CONVS)
    graph_dilation: int = flag(1, "neighbours", "ViG and EdgeConv keep every n-th of the nearest neighbours")
    reduction: int = flag(1, "neighbours", "pooling of the candidates of ViG and EdgeConv: side of the cells")
    relative_side: int = flag(
        0, "neighbours", "side of the map of position codes in the search of ViG and EdgeConv; 0: no codes"
    )
    mlp_layers: int = flag(1, "neighbours", "number of linear layers of EdgeConv's MLP")
    edge_norm: bool = flag(False, "neighbours", "batch normalisation in the MLPs of EdgeConv and ViG's sage")
    edge_activation: str = flag("relu", "neighbours", "activation in these MLPs", tuple(ACTIVATIONS))
    scale_features: bool = flag(False, "neighbours", "normalise features to length 1 in the search of EdgeConv")
    step: int = flag(2, "neighbours", "distance between neighbours in SVGA, MGC and DAGC, in positions")
    positional_size: int = flag(
        0,
        "neighbours",
        "window of the positional encoding before layers of other papers, an odd number; 0: none",
    )
    head_channels: int = flag(32, "neighbours", "smallest number of channels per head of NeighborhoodAttention2d")
    relative_bias: bool = flag(True, "neighbours", "learn a relative position bias in NeighborhoodAttention2d")
    attention_dilation: int = flag(1, "neighbours", "dilation of the windows of NeighborhoodAttention2d")
    qk_scale: float | None = flag(
        None, "neighbours", "scale of the inner products in NeighborhoodAttention2d; None: 1 / sqrt(channels per head)"
    )
    edge_type: str = flag(
        "distance", "neighbours", "how AdaptiveNeighborhoods ranks the positions of a window", EDGE_TYPES
    )
    degree_type: str = flag(
        "features",
        "neighbours",
        "input from which AdaptiveNeighborhoods predicts the number of neighbours",
        DEGREE_TYPES,
    )
    stochastic_degree: bool = flag(False, "neighbours", "AdaptiveNeighborhoods samples that number in training")
    keeping: str = flag(
        "scaled", "neighbours", "how the edge weights of AdaptiveNeighborhoods depend on the scores", SOFT_TOPS
    )
    pooling: str = flag("mean", "neighbours", "how AdaptiveNeighborhoods aggregates its neighbours", POOLINGS)
    latent_channels: int = flag(64, "neighbours", "embedding channels of AdaptiveNeighborhoods")
    square_kernel_size: int = flag(3, "neighbours", "side of InceptionDW's square kernel")
    band_kernel_size: int = flag(11, "neighbours", "length of InceptionDW's wide and tall kernels")
    kernel_dilation: int = flag(1, "neighbours", "distance between the taps of a layer's kernels, in positions")
    kernel_sizes: str = flag("1,3,5", "neighbours", "sides of MultiKernelDW's kernels, separated by commas")
    expansion_factor: float = flag(
        2.0, "neighbours", "ratio of channels under MultiKernelDW's kernels to those it reads"
    )
    activation: str = flag("relu6", "neighbours", "activation in MultiKernelDW", tuple(KERNEL_ACTIVATIONS))
    dw_parallel: bool = flag(True, "neighbours", "MultiKernelDW's kernels all read the same map")
    add: bool = flag(True, "neighbours", "sum the outputs of MultiKernelDW's kernels instead of concatenating them")
    shortcut: bool = flag(True, "neighbours", "add the input of a layer with a shortcut to its output")
    level: int = flag(2, "neighbours", "how often RecConv halves the map")
    upsampling: str = flag("bilinear", "neighbours", "how RecConv enlarges maps", UPSAMPLINGS)
    kernel_bias: bool = flag(False, "neighbours", "learn a bias for the kernels of RecConv, LKCA and LKCAttention too")
    k_conv: str = flag("1,15", "neighbours", "sides of SuperKernel's kernels, separated by commas")
    kernels: int = flag(0, "neighbours", "number of LKCA's kernels; 0: one for each channel, or of tokens each head")
    basis: str = flag("spline", "neighbours", "functions of the channels that KANConv convolves", BASES)
    degree: int = flag(3, "neighbours", "degree of KANConv's last polynomial")
    spline_order: int = flag(3, "neighbours", "order of KANConv's splines; with relu, neighbours that a bump overlaps")
    grid_size: int = flag(0, "neighbours", "number of intervals or Gaussians of KANConv; 0: 5 intervals, 8 Gaussians")
    grid_range: str = flag("", "neighbours", "ends of KANConv's range, such as -1,1; empty: -1,1, with rbf -2,2")
    wavelet_type: str = flag("mexican_hat", "neighbours", "wavelet of KANConv", tuple(WAVELETS))
    base_activation: str = flag(
        "usual", "neighbours", "activation before the convolution beside KANConv's functions", KAN_ACTIVATIONS
    )
    norm_layer: str = flag("usual", "neighbours", "normalisation in KANConv", KAN_NORMS)
    activate: bool = flag(False, "neighbours", "end KANConv in the activation published with its basis")
    lie_group: str = flag("sl2", "neighbours", "linear maps by which LieConv's kernel is moved", LIE_GROUPS)
    num_gsamples: int = flag(10, "neighbours", "number of these maps")
    group_pool: str = flag("max", "neighbours", "how LieConv pools over them", GROUP_POOLS)
    kernel_hidden: int = flag(60, "neighbours", "width of the function that gives LieConv's kernel")
    big_kernel: int = flag(51, "neighbours", "length of ShiftWise's bands of small kernels")
    ghost_ratio: float = flag(0.23, "neighbours", "share of ShiftWise's channels without a kernel, 0 to 1")
    N_path: int = flag(2, "neighbours", "number of kernels that are summed to a small one of ShiftWise")
    N_rep: int = flag(4, "neighbours", "number of orders of the small kernels in ShiftWise's bands")
    band_norm: bool = flag(True, "neighbours", "normalise the bands of ShiftWise")
    experts: int = flag(4, "neighbours", "number of kernels that CondConv mixes for every image")
    frequency_groups: int = flag(
        4, "neighbours", "groups of frequencies of FDConv's kernel, of which each has a share of its own"
    )
    sparsity: float = flag(0.0, "neighbours", "share of ShiftWise's small kernels that training prunes, published: 0.3")
    small_kernel: int = flag(5, "neighbours", "side of the small kernels of RepLK, 0: without one, and of ShiftWise")
    horizon: str = flag("33", "neighbours", "number of taps of a generated kernel, or same, full: those of the map")
    no_hidden: int = flag(32, "neighbours", "width of the network that generates a kernel")
    no_layers: int = flag(3, "neighbours", "number of its layers")
    omega_0: float = flag(30.0, "neighbours", "frequency of its sines")
    weight_norm: bool = flag(False, "neighbours", "learn length and direction of its weights, as published for signals")
    weight_dropout: float = flag(0.0, "neighbours", "share of a generated kernel that is left out in training, 0 to 1")
    n_points: int | None = flag(
        16, "neighbours", "number of points of SMPConv, of every output; None: a quarter of the taps"
    )
    radius: float | None = flag(None, "neighbours", "initial radius of SMPConv's points; None: 4 / horizon")
    coord_std: float = flag(0.05, "neighbours", "standard deviation of the initial places of SMPConv's points")
    input_scale: float = flag(25.6, "neighbours", "initial frequency of FlexConv's filters")
    mask_init_value: float = flag(
        0.075, "neighbours", "initial width of the learned Gaussian, as a share of half the horizon"
    )
    mask_threshold: float = flag(0.1, "neighbours", "value of the Gaussian below which taps are left out, 0 to 1")
    l_max: int = flag(1024, "neighbours", "number of lags of a long convolution, the positions of the largest map")
    kernel_dim: int = flag(32, "neighbours", "number of values of each of SGConv's blocks")
    n_scales: int | None = flag(None, "neighbours", "number of SGConv's blocks; None: as many as cover --l_max")
    decay_min: float = flag(2.0, "neighbours", "factor between a block of SGConv and the next, in the first channel")
    decay_max: float = flag(2.0, "neighbours", "and in the last channel")
    kernel_mode: str = flag("cat_randn", "neighbours", "how SGConv's blocks are joined and start, such as sum_cos")
    bidirectional: bool = flag(True, "neighbours", "long convolutions read positions before and after")
    lam: float = flag(0.001, "neighbours", "how much every tap of LongConv is brought nearer to 0, 0 to 1")
    ma_window_len: int = flag(0, "neighbours", "width of a moving average over LongConv's taps; 0: none")
    smooth_freq: bool = flag(False, "neighbours", "average the spectrum of LongConv's taps instead")
    weight_init: str = flag("random", "neighbours", "initial taps of LongConv", TAP_INITS)
    use_fft: str = flag("auto", "neighbours", "whether a generated kernel is applied by FFT", USES_OF_FFT)

    dataset: str = flag("cifar10", "data", "data set to train on", DATASETS)
    data_path: str = flag("./Data", "data", "folder of the data set", is_path=True)
    download: bool = flag(False, "data", "download the data set if it is missing")
    resize: int | None = flag(None, "data", "side length to which images are resized, in pixels")
    fit: str = flag("crop", "data", "how images of imagenet and imagefolder are brought to the size of --resize", FITS)
    augment: bool = flag(False, "data", "random crops and flips")
    noise: float = flag(0.0, "data", "standard deviation of Gaussian noise added to the normalised images")
    limit_train: int | None = flag(None, "data", "train on a random subset of this many images")
    limit_test: int | None = flag(None, "data", "test, and validate, on a random subset of this many images")
    num_workers: int = flag(4, "data", "number of processes that load imagenet and imagefolder")
    keep_images: bool = flag(False, "data", "keep decoded images of imagenet and imagefolder in memory")
    on_bad_image: str = flag("error", "data", "on an unreadable image, stop or skip it", ON_BAD_IMAGE)
    permuted: int | None = flag(
        None, "data", "seed of a permutation in which sequential data sets read the pixels", without_value=0
    )
    subsample: int | None = flag(None, "data", "keep every n-th sample of each sequence, as at a lower sampling rate")
    average: int | None = flag(None, "data", "instead, take the mean of every n samples of sequential data sets")
    length: int | None = flag(None, "data", "samples of each signal of adding (None: 100) and waveforms (None: 128)")
    missing: float | None = flag(None, "data", "share of the samples that waveforms lack, from 0 to below 1; None: 0.3")

    batch_size: int = flag(256, "training", "images per step, over all processes")
    num_epochs: int = flag(150, "training", "number of epochs")
    use_amp: bool = flag(False, "training", "mixed precision: bfloat16 if the device supports it, otherwise float16")
    use_compiled: bool = flag(False, "training", "compile the network with torch.compile")
    compile_mode: str = flag(
        "default",
        "training",
        "mode of torch.compile; reduce-memory keeps half of the activations",
        ("default", "reduce-overhead", "reduce-memory", "max-autotune"),
    )
    accumulate: int = flag(
        1,
        "training",
        "accumulate the gradients of this many batches per step: the effect of a larger batch in less memory",
    )
    init_from: str | None = flag(
        None,
        "training",
        "start from the weights of a checkpoint; a head with another number of classes is initialised at random",
        is_path=True,
    )
    patience: int | None = flag(
        None, "training", "stop after this many epochs without a better top-1 on val, or on test if there is no val"
    )
    clip_grad_norm: float = flag(1.0, "training", "largest norm of the gradient; 0: no clipping")
    detect_anomaly: bool = flag(False, "training", "report the operation whose gradient becomes NaN; slow")
    deterministic: bool = flag(False, "training", "bitwise reproducible on CUDA; the CPU always is")
    sync_batchnorm: bool = flag(True, "training", "synchronise batch normalisation over all processes")
    fsdp: bool = flag(False, "training", "shard weights and optimizer state over processes (FSDP)")

    criterion: str = flag("CrossEntropy", "optimisation", "loss", ("CrossEntropy", "MSE"))
    optimizer: str = flag("adamw", "optimisation", "optimizer", ("adam", "sgd", "adamw"))
    lr: float = flag(1e-3, "optimisation", "initial learning rate")
    mask_lr_ratio: float = flag(
        0.1, "optimisation", "learning rate of the learned Gaussians of FlexConv and CCNNConv, in units of --lr"
    )
    radius_lr_ratio: float = flag(
        0.1, "optimisation", "learning rate of the radii of SMPConv's points, in units of --lr"
    )
    kernel_lr: float | None = flag(
        1e-3, "optimisation", "learning rate of the values of SGConv's and LongConv's kernels; None: --lr"
    )
    weight_decay: float = flag(1e-6, "optimisation", "weight decay")
    momentum: float = flag(0.9, "optimisation", "momentum of sgd")
    scheduler: str = flag(
        "none", "optimisation", "schedule of the learning rate", ("step", "cosine", "plateau", "none")
    )
    warmup_epochs: int = flag(
        0, "optimisation", "epochs in which the learning rate rises linearly from 0, before the scheduler"
    )
    lr_step: int = flag(20, "optimisation", "epochs between decays of the step scheduler")
    lr_gamma: float = flag(0.1, "optimisation", "decay factor of the step and plateau schedulers")

    device: str = flag("auto", "run", "device; auto is the best available", ("auto", "cpu", "cuda", "mps"))
    backend: str = flag("auto", "run", "implementation of the operations; auto is the fastest", BACKEND_CHOICES)
    threads: int | None = flag(
        None, "run", "number of CPU threads, on which the last bits depend; None: as torch chooses"
    )
    seed: int = flag(0, "run", "random seed of weights, order, augmentation and sampling")
    output_dir: str = flag("./Output/VGG/ConvNN", "run", "folder for results", is_path=True)
    resume: str | None = flag(
        None,
        "run",
        "resume a run: a checkpoint, its folder, or auto for output_dir",
        without_value="auto",
        is_path=True,
    )
    checkpoint_every: str | None = flag("15m", "run", "also save within epochs, every 500 steps or 90s, 15m, 2h")
    overwrite: bool = flag(False, "run", "replace the results of an earlier run in output_dir")
    tensorboard: bool = flag(False, "run", "also write TensorBoard scalars (pip install 'convnn[tensorboard]')")
    log_neighbors: bool = flag(False, "run", "measure the neighbours of each layer after every epoch, in neighbors.csv")
    test_only: bool = flag(False, "run", "do not train: evaluate --checkpoint, or without one check shapes")
    checkpoint: str | None = flag(None, "run", "checkpoint to evaluate, such as best.safetensors", is_path=True)

    def __init__(self, **given: Any) -> None:
        values = {f.name: f.default for f in fields(self)}
        model = given.get("model", values["model"])
        check_model(model, prefix="--")
        layer = given.get("layer", default_layer(model))
        check_layer(model, layer, prefix="--")
        for name in given.keys() - values.keys():
            raise TypeError(f"TrainConfig has no flag {name!r}")
        values |= defaults_of(model, layer)
        if given.get("dataset", values["dataset"]) in REGRESSIONS:
            values |= REGRESSION_DEFAULTS
        for name, value in (values | given).items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if choices := choices_of(f):
                check_choice(f"--{f.name}", value, choices)
            if f.metadata["is_path"] and value is not None:
                object.__setattr__(self, f.name, expand_home(value, f"--{f.name}"))
        check_limits(self)
        parse_interval(self.checkpoint_every)
        try:
            os.fsencode(self.output_dir).decode()
        except UnicodeError:  # safetensors could write such a file, but not read it
            raise InputError(f"--output_dir={self.output_dir!r} must be valid UTF-8; choose another name") from None
        object.__setattr__(self, "imports", ",".join(import_names(self.imports)) or None)

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that describe the network and its layer, by name."""
        return {name: getattr(self, name) for name in (*network_settings(), *layer_settings())}

    @property
    def data_settings(self) -> dict[str, Any]:
        """The flags by which a data set of sequences is made, by name; none for images."""
        names = [name for name, readers in READERS.items() if self.dataset in readers]
        return {name: getattr(self, name) for name in [*names, *(["resize"] if self.dataset in RASTERS else [])]}

    def reads(self, name: str) -> bool:
        """Return whether a flag affects this run: networks and layers ignore the settings of others."""
        of_layer = replacement_settings(self.layer) if is_external(self.model) else LAYERS[self.layer].settings.keys()
        return name in of_layer or name in model_settings(self.model) or not is_setting(name)
