"""Everything a run is told: the published flags with their names and defaults, and a few of ours."""

import os
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from convnn.data import DATASETS, FITS, ON_BAD_IMAGE
from convnn.errors import InputError, check_at_least, check_at_most, check_choice, check_fraction
from convnn.files import expand_home
from convnn.models import check_layer, check_model, default_layer, is_external, list_models, model_settings
from convnn.models.external import replacement_settings
from convnn.nn import (
    ACTIVATIONS,
    AGGREGATION_TYPES,
    CONVOLUTION_TYPES,
    DEGREE_TYPES,
    EDGE_TYPES,
    GRAPH_CONVS,
    LAYERS,
    POOLINGS,
    PREFERENCES,
    SAMPLING_TYPES,
    SIMILARITY_TYPES,
    SPARSE_MODES,
    list_layers,
)
from convnn.nn._extensions import import_names
from convnn.ops import BACKEND_CHOICES, METRICS
from convnn.ops.weigh import SOFT_TOPS
from convnn.train.checkpoint import LARGEST_NUMBER, LARGEST_SIDE
from convnn.train.timer import parse_interval

PUBLISHED_NAMES = {"magnitude_type": "metric"}
"""Flags that the published code calls otherwise; both names are accepted, on the command line and in files."""

ANY_OTHER = "torchvision:"
"""Stands for every network of another library."""

TOKEN_DEFAULTS = {
    "metric": "matmul",
    "kernel_size": 9,
    "resize": 224,
    "lr": 5e-4,
    "weight_decay": 5e-2,
    "scheduler": "cosine",
}
"""Defaults of the published ViT where they differ from those of the convolutional networks."""

PUBLISHED_FOLDERS = {("vgg11", "ConvNN"): "./Output/VGG/ConvNN", ("vit", "Attention"): "./Output/VIT/VIT_Attention"}
"""Of results, by network and layer; those of all others are named after the two."""

DEEPEST, WIDEST, MOST_THREADS, LARGEST_FACTOR, LARGEST_FLOAT = 1000, 2**20, 1024, 1000.0, 1e30

LARGEST = (
    dict.fromkeys(("kernel_size", "padding", "patch_size", "image_size", "resize", "positional_size"), LARGEST_SIDE)
    | dict.fromkeys(("sample_padding", "shuffle_scale", "reach", "step", "reduction", "graph_dilation"), LARGEST_SIDE)
    | dict.fromkeys(("attention_dilation", "relative_side"), LARGEST_SIDE)
    | dict.fromkeys(("K", "num_samples", "sparse_context_window"), LARGEST_SIDE**2)
    | dict.fromkeys(("num_heads", "d_hidden", "d_mlp", "head_channels", "latent_channels"), WIDEST)
    | dict.fromkeys(("num_layers", "mlp_layers"), DEEPEST)
    | {"threads": MOST_THREADS, "width": LARGEST_FACTOR}
)
"""Values of flags; any other whole number is below LARGEST_NUMBER, any other number at most LARGEST_FLOAT."""


def flag(
    default: Any,
    group: str,
    text: str,
    choices: tuple[str, ...] | Callable[[], list[str]] | None = None,
    *,
    without_value: str | None = None,
    is_path: bool = False,
    option: str | None = None,
) -> Any:
    """A field that is a command line flag.

    Args:
        default, group, text: its default, the group of flags it belongs to, and what it does.
        choices: its values, or what lists them when they are asked for.
        without_value: what it means when given alone.
        is_path: whether it names a file or folder.
        option: what it is called on the command line, where it may be given several times; as the field when None.
    """
    known = {"group": group, "help": text, "choices": choices, "without_value": without_value, "is_path": is_path}
    return field(default=default, metadata=known | {"option": option})


def choices_of(f: "Field[Any]") -> tuple[str, ...]:
    """The values of a flag that has few; layers that were imported meanwhile among them."""
    choices = f.metadata["choices"]
    return tuple(choices() if callable(choices) else choices or ())


def option_of(f: "Field[Any]") -> str:
    """A flag as it stands on the command line."""
    return f.metadata["option"] or f"--{f.name}"


def layer_settings() -> list[str]:
    """The flags that some layer reads: the settings that layers name in their signatures, in the order of the flags."""
    read = {name for entry in LAYERS.values() for name in entry.settings} - {"backend"}  # which is the machine's
    return [f.name for f in fields(TrainConfig) if f.name in read]


def network_settings() -> list[str]:
    """The flags that some network reads, and no layer."""
    read = {name for model in (*list_models(), ANY_OTHER) for name in model_settings(model)}
    of_layers = set(layer_settings())
    return [f.name for f in fields(TrainConfig) if f.name in read and f.name not in of_layers]


def defaults_of(model: str, layer: str | None = None) -> dict[str, Any]:
    """The flags whose defaults depend on the network and its layer, with those of this one, or of its own layer."""
    layer = layer or default_layer(model)
    flags = {f.name for f in fields(TrainConfig)}
    of_layer = {name: value for name, value in LAYERS[layer].settings.items() if name in flags}
    of_model = {name: value for name, value in model_settings(model).items() if name in flags}
    of_tokens = TOKEN_DEFAULTS if LAYERS[default_layer(model)].reads == "tokens" else {}
    folder = PUBLISHED_FOLDERS.get((model, layer), f"./Output/{model.replace(':', '_')}/{layer}")
    return of_layer | of_model | of_tokens | {"layer": layer, "output_dir": folder}


@dataclass(frozen=True, init=False)
class TrainConfig:
    """The flags of `convnn train`; each field's help says what it does.

    Flags that are not given have the default of the network and its layer, `defaults_of(model, layer)`, or that of the
    field.

    Raises:
        InputError: a value is unknown or out of range, naming the flag.
        TypeError: there is no such flag.
    """

    model: str = flag("vgg11", "network", f"architecture: {', '.join(list_models())}, torchvision:NAME or timm:NAME")
    layer: str = flag("ConvNN", "network", "layer it is built of", list_layers)
    imports: str | None = flag(
        None, "network", "module or .py file that registers layers; may be given several times", option="--import"
    )
    where: str = flag("*", "network", "names of the layers that --layer replaces in a network of torchvision or timm")
    pretrained: bool = flag(False, "network", "start a network of torchvision or timm from the weights it has learned")
    width: float = flag(1.0, "network", "factor on all channels; 1 is the published network")
    dropout: float = flag(0.5, "network", "dropout ahead of linear layers, 0 to 1")
    patch_size: int = flag(16, "network", "side of a patch of ViT in pixels")
    num_layers: int = flag(12, "network", "blocks of ViT")
    num_heads: int = flag(3, "network", "heads of each layer on tokens")
    d_hidden: int = flag(192, "network", "width of the tokens of ViT")
    d_mlp: int = flag(768, "network", "width of the hidden layer of each MLP of ViT")
    image_size: int = flag(224, "network", "side of images for which mobilevigv2 and greedyvig scale their steps")
    drop_path: float = flag(0.1, "network", "share of images that leave out the last block of those two, 0 to 1")
    kernel_size: int = flag(3, "network", "side of the window of convolutions")
    padding: int = flag(1, "network", "zeros around the map in which neighbours are looked for")

    K: int = flag(
        9,
        "neighbours",
        "neighbours of each position, itself included; 0, in a network of another library: its window's",
    )
    sampling_type: str = flag("all", "neighbours", "who may be a neighbour", SAMPLING_TYPES)
    num_samples: int = flag(-1, "neighbours", "candidates of random, grid side of spatial sampling; -1: all")
    sample_padding: int = flag(0, "neighbours", "pixels that the spatial grid keeps away from the border")
    metric: str = flag("cosine", "neighbours", "metric by which neighbours are found", METRICS)
    similarity_type: str = flag("Col", "neighbours", "compare features (Col), places (Loc) or both", SIMILARITY_TYPES)
    aggregation_type: str = flag(
        "Col", "neighbours", "convolve features, or features and coordinates", AGGREGATION_TYPES
    )
    lambda_param: float = flag(0.5, "neighbours", "share of the features in similarity Loc_Col, 0 to 1")
    raster_order: bool = flag(False, "neighbours", "neighbours stand in raster order, not best first")
    reach: int = flag(1, "neighbours", "how much farther than the window the outer slots of ConvNN_Pos look, in pixels")
    choosing: float = flag(0.5, "neighbours", "share of ConvNN_Pos's channels whose slots choose, 0 to 1")
    prefer: str = flag("like", "neighbours", "whom each slot of ConvNN_Pos takes", PREFERENCES)
    shuffle_pattern: str = flag("NA", "neighbours", "pixel shuffle before and after (BA) or none", ("BA", "NA"))
    shuffle_scale: int = flag(0, "neighbours", "pixels folded along each axis by the shuffle")
    branch_ratio: float = flag(0.5, "neighbours", "share of a Branching layer's channels that ConvNN makes, 0 to 1")
    attention_dropout: float = flag(0.1, "neighbours", "dropout inside attention layers, 0 to 1")
    convolution_type: str = flag("depthwise", "neighbours", "kernel over the K of ConvNNAttention", CONVOLUTION_TYPES)
    softmax_topk_val: bool = flag(True, "neighbours", "weigh the K of ConvNNAttention by a softmax, not by the score")
    coordinate_encoding: bool = flag(False, "neighbours", "show ConvNNAttention the place of each token")
    sparse_mode: str = flag("all", "neighbours", "whom SparseAttention looks at", SPARSE_MODES)
    sparse_context_window: int = flag(128, "neighbours", "window or stride of SparseAttention, in tokens")
    graph_conv: str = flag("max_relative", "neighbours", "what ViG takes of its neighbours", GRAPH_CONVS)
    graph_dilation: int = flag(1, "neighbours", "ViG and EdgeConv keep every so many of the nearest")
    reduction: int = flag(1, "neighbours", "side of the cells of positions that are neighbours in ViG and EdgeConv")
    relative_side: int = flag(
        0, "neighbours", "side of the map for whose positions ViG and EdgeConv have codes in their search; 0: none"
    )
    mlp_layers: int = flag(1, "neighbours", "linear layers of EdgeConv's MLP")
    edge_norm: bool = flag(False, "neighbours", "batch normalisation within EdgeConv's MLP and the edges of ViG's sage")
    edge_activation: str = flag("relu", "neighbours", "activation within them", tuple(ACTIVATIONS))
    scale_features: bool = flag(False, "neighbours", "EdgeConv searches features scaled to length 1")
    step: int = flag(2, "neighbours", "distance of neighbours in SVGA, MGC and DAGC, in positions")
    positional_size: int = flag(
        0, "neighbours", "window of the positional encoding ahead of layers of other papers, an odd number; 0: none"
    )
    head_channels: int = flag(32, "neighbours", "channels a head of NeighborhoodAttention2d has at least")
    relative_bias: bool = flag(True, "neighbours", "NeighborhoodAttention2d learns a bias for each offset")
    attention_dilation: int = flag(1, "neighbours", "distance of the positions of NeighborhoodAttention2d's windows")
    qk_scale: float | None = flag(
        None, "neighbours", "factor on NeighborhoodAttention2d's products; none: one over the root of a head's channels"
    )
    edge_type: str = flag(
        "distance", "neighbours", "how AdaptiveNeighborhoods ranks the positions of a window", EDGE_TYPES
    )
    degree_type: str = flag(
        "features", "neighbours", "what AdaptiveNeighborhoods tells the number of neighbours from", DEGREE_TYPES
    )
    stochastic_degree: bool = flag(False, "neighbours", "AdaptiveNeighborhoods draws that number in training")
    keeping: str = flag(
        "scaled", "neighbours", "how AdaptiveNeighborhoods's weights keep the scores of edges", SOFT_TOPS
    )
    pooling: str = flag("mean", "neighbours", "how AdaptiveNeighborhoods puts them together", POOLINGS)
    latent_channels: int = flag(64, "neighbours", "channels by which AdaptiveNeighborhoods ranks")

    dataset: str = flag("cifar10", "data", "images to learn", DATASETS)
    data_path: str = flag("./Data", "data", "folder of the data set", is_path=True)
    download: bool = flag(False, "data", "fetch a missing data set")
    resize: int | None = flag(None, "data", "side to which images are resized, in pixels")
    fit: str = flag("crop", "data", "how pictures of imagenet and imagefolder come to that size", FITS)
    augment: bool = flag(False, "data", "random crops and flips")
    noise: float = flag(0.0, "data", "standard deviation of Gaussian noise added to the normalised images")
    limit_train: int | None = flag(None, "data", "train on a random subset of this many images")
    limit_test: int | None = flag(None, "data", "test on a random subset of this many images, val too")
    num_workers: int = flag(4, "data", "processes that read imagenet and imagefolder")
    keep_images: bool = flag(False, "data", "decode imagenet and imagefolder once: for sets that fit in memory")
    on_bad_image: str = flag("error", "data", "stop at an image that cannot be read, or leave it out", ON_BAD_IMAGE)

    batch_size: int = flag(256, "training", "images per step, over all processes")
    num_epochs: int = flag(150, "training", "passes over the training images")
    use_amp: bool = flag(False, "training", "mixed precision: bfloat16 where the device has it, else float16")
    use_compiled: bool = flag(False, "training", "torch.compile")
    compile_mode: str = flag(
        "default",
        "training",
        "mode of torch.compile; reduce-memory keeps half of the activations",
        ("default", "reduce-overhead", "reduce-memory", "max-autotune"),
    )
    accumulate: int = flag(
        1, "training", "batches whose gradients make one step: as one batch of so many times the size, in less memory"
    )
    init_from: str | None = flag(
        None,
        "training",
        "start with the weights of a checkpoint; a head of another number of classes stays fresh",
        is_path=True,
    )
    patience: int | None = flag(
        None, "training", "stop after this many epochs without a better top-1 on val, or on test where there is no val"
    )
    clip_grad_norm: float = flag(1.0, "training", "largest norm of the gradient; 0: any")
    detect_anomaly: bool = flag(False, "training", "name the operation whose gradient becomes NaN; slow")
    deterministic: bool = flag(False, "training", "the same bits every time on CUDA too; the CPU gives them anyway")
    sync_batchnorm: bool = flag(True, "training", "normalise over the whole batch where several processes share it")
    fsdp: bool = flag(False, "training", "spread weights and optimizer over the processes too, for large models")

    criterion: str = flag("CrossEntropy", "optimisation", "loss", ("CrossEntropy", "MSE"))
    optimizer: str = flag("adamw", "optimisation", "optimizer", ("adam", "sgd", "adamw"))
    lr: float = flag(1e-3, "optimisation", "initial learning rate")
    weight_decay: float = flag(1e-6, "optimisation", "weight decay")
    momentum: float = flag(0.9, "optimisation", "momentum of sgd")
    scheduler: str = flag(
        "none", "optimisation", "learning rate over the epochs", ("step", "cosine", "plateau", "none")
    )
    warmup_epochs: int = flag(
        0, "optimisation", "epochs over which the rate rises from 0 in equal steps, ahead of the scheduler"
    )
    lr_step: int = flag(20, "optimisation", "epochs between two cuts of the step scheduler")
    lr_gamma: float = flag(0.1, "optimisation", "factor of a cut, for step and plateau")

    device: str = flag("auto", "run", "auto takes the best there is", ("auto", "cpu", "cuda", "mps"))
    backend: str = flag("auto", "run", "what computes the neighbours; auto takes the fastest", BACKEND_CHOICES)
    threads: int | None = flag(
        None, "run", "threads of the CPU, on which the last bits depend; what torch starts with when left out"
    )
    seed: int = flag(0, "run", "seed of weights, order, augmentation and sampling")
    output_dir: str = flag("./Output/VGG/ConvNN", "run", "folder of results", is_path=True)
    resume: str | None = flag(
        None,
        "run",
        "go on with a run: a checkpoint, its folder, or auto for output_dir",
        without_value="auto",
        is_path=True,
    )
    checkpoint_every: str | None = flag("15m", "run", "save within epochs too, every 500 steps or 90s, 15m, 2h")
    overwrite: bool = flag(False, "run", "replace the results of an earlier run in output_dir")
    tensorboard: bool = flag(False, "run", "write TensorBoard scalars too (pip install 'convnn[tensorboard]')")
    log_neighbors: bool = flag(False, "run", "measure whom each layer looks at after every epoch, into neighbors.csv")
    test_only: bool = flag(False, "run", "no training: evaluate --checkpoint, or check shapes without one")
    checkpoint: str | None = flag(None, "run", "weights to evaluate, such as best.safetensors", is_path=True)

    def __init__(self, **given: Any) -> None:
        values = {f.name: f.default for f in fields(self)}
        model = given.get("model", values["model"])
        check_model(model, prefix="--")
        layer = given.get("layer", default_layer(model))
        check_layer(model, layer, prefix="--")
        for name in given.keys() - values.keys():
            raise TypeError(f"TrainConfig has no flag {name!r}")
        for name, value in (values | defaults_of(model, layer) | given).items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if choices := choices_of(f):
                check_choice(f"--{f.name}", value, choices)
            if f.metadata["is_path"] and value is not None:
                object.__setattr__(self, f.name, expand_home(value, f"--{f.name}"))
        check_at_least("--K", self.K, 0 if is_external(self.model) else 1)
        for name in ("batch_size", "num_epochs", "kernel_size", "lr_step", "sparse_context_window"):
            check_at_least(f"--{name}", getattr(self, name), 1)
        for name in ("patch_size", "num_layers", "num_heads", "d_hidden", "d_mlp", "image_size"):
            check_at_least(f"--{name}", getattr(self, name), 1)
        for name in ("graph_dilation", "reduction", "mlp_layers", "step", "head_channels", "latent_channels"):
            check_at_least(f"--{name}", getattr(self, name), 1)
        check_at_least("--attention_dilation", self.attention_dilation, 1)
        if self.qk_scale is not None and not self.qk_scale > 0:
            raise InputError(f"--qk_scale={self.qk_scale} must be positive")
        check_at_least("--relative_side", self.relative_side, 0)
        for name in ("padding", "sample_padding", "reach", "positional_size", "shuffle_scale", "num_workers", "seed"):
            check_at_least(f"--{name}", getattr(self, name), 0)
        check_at_least("--num_samples", self.num_samples, -1)
        check_at_least("--accumulate", self.accumulate, 1)
        check_at_least("--warmup_epochs", self.warmup_epochs, 0)
        for name in ("resize", "limit_train", "limit_test", "patience", "threads"):
            if getattr(self, name) is not None:
                check_at_least(f"--{name}", getattr(self, name), 1)
        for name in ("lambda_param", "branch_ratio", "choosing", "attention_dropout", "dropout", "drop_path"):
            check_fraction(f"--{name}", getattr(self, name))
        for name in ("lr", "width"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name}={getattr(self, name)} must be positive")
        for name in ("weight_decay", "momentum", "lr_gamma", "clip_grad_norm", "noise"):
            if not getattr(self, name) >= 0:
                raise InputError(f"--{name}={getattr(self, name)} must not be negative")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int | float):
                usual = LARGEST_NUMBER - 1 if isinstance(value, int) else LARGEST_FLOAT
                check_at_most(f"--{f.name}", value, LARGEST.get(f.name, usual))
        if self.pretrained and not is_external(self.model):
            raise InputError(
                f"--pretrained is for networks torchvision:NAME and timm:NAME, and not --model={self.model}"
            )
        if self.pretrained and self.init_from is not None:
            raise InputError(f"--pretrained and --init_from={self.init_from} both say how to start; give one of them")
        if self.warmup_epochs >= self.num_epochs:
            raise InputError(f"--warmup_epochs={self.warmup_epochs} must be less than --num_epochs={self.num_epochs}")
        parse_interval(self.checkpoint_every)
        try:
            os.fsencode(self.output_dir).decode()
        except UnicodeError:  # safetensors would write there and never read again
            raise InputError(f"--output_dir={self.output_dir!r} must be a name in UTF-8; choose another") from None
        object.__setattr__(self, "imports", ",".join(import_names(self.imports)) or None)

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that describe the network and its layer, by name."""
        return {name: getattr(self, name) for name in (*network_settings(), *layer_settings())}

    def reads(self, name: str) -> bool:
        """Whether a flag has a say in this run: a network and a layer leave out the settings of others."""
        of_layer = replacement_settings(self.layer) if is_external(self.model) else LAYERS[self.layer].settings.keys()
        return name not in self.settings or name in of_layer | model_settings(self.model).keys()
