"""The smallest and largest values of the flags of a run, and which exclude each other."""

from dataclasses import fields
from typing import Any

from convnn.errors import InputError, check_at_least, check_at_most, check_fraction
from convnn.models import is_external
from convnn.train.checkpoint import LARGEST_NUMBER, LARGEST_SIDE

DEEPEST, WIDEST, MOST_THREADS, LARGEST_FACTOR, LARGEST_FLOAT = 1000, 2**20, 1024, 1000.0, 1e30

LARGEST = (
    dict.fromkeys(("kernel_size", "padding", "patch_size", "image_size", "resize", "positional_size"), LARGEST_SIDE)
    | dict.fromkeys(("sample_padding", "shuffle_scale", "reach", "step", "reduction", "graph_dilation"), LARGEST_SIDE)
    | dict.fromkeys(("attention_dilation", "relative_side", "small_kernel"), LARGEST_SIDE)
    | dict.fromkeys(("square_kernel_size", "band_kernel_size", "kernel_dilation", "big_kernel"), LARGEST_SIDE)
    | dict.fromkeys(("K", "num_samples", "probes", "lists", "sparse_context_window"), LARGEST_SIDE**2)
    | dict.fromkeys(("num_heads", "d_hidden", "d_mlp", "head_channels", "latent_channels", "kernels"), WIDEST)
    | dict.fromkeys(("experts", "frequency_groups"), WIDEST)
    | dict.fromkeys(("num_gsamples", "kernel_hidden"), WIDEST)
    | dict.fromkeys(("num_layers", "mlp_layers", "level", "N_path", "N_rep"), DEEPEST)
    | dict.fromkeys(("degree", "spline_order", "grid_size"), DEEPEST)
    | dict.fromkeys(("no_hidden", "n_points", "kernel_dim"), WIDEST)
    | dict.fromkeys(("no_layers", "n_scales"), DEEPEST)
    | dict.fromkeys(("l_max", "ma_window_len"), LARGEST_SIDE**2)
    | dict.fromkeys(("subsample", "average", "length"), LARGEST_SIDE**2)
    | {"threads": MOST_THREADS, "width": LARGEST_FACTOR, "expansion_factor": LARGEST_FACTOR}
)
"""Largest values of flags; all other integers are below LARGEST_NUMBER, all other floats at most LARGEST_FLOAT."""

MAY_BE_NONE = (
    *("resize", "limit_train", "limit_test", "patience", "threads", "n_points", "n_scales"),
    *("permuted", "subsample", "average", "length"),
)
LEAST = (
    dict.fromkeys(("batch_size", "num_epochs", "lr_step", "accumulate", "image_size", *MAY_BE_NONE), 1)
    | {"permuted": 0}
    | dict.fromkeys(("patch_size", "num_layers", "num_heads", "d_hidden", "d_mlp", "sparse_context_window"), 1)
    | dict.fromkeys(("graph_dilation", "reduction", "mlp_layers", "step", "head_channels", "latent_channels"), 1)
    | dict.fromkeys(("kernel_size", "square_kernel_size", "band_kernel_size", "big_kernel", "N_path", "N_rep"), 1)
    | dict.fromkeys(("attention_dilation", "kernel_dilation", "experts", "frequency_groups"), 1)
    | dict.fromkeys(("padding", "sample_padding", "reach", "positional_size", "relative_side", "shuffle_scale"), 0)
    | dict.fromkeys(("small_kernel", "kernels", "level", "num_workers", "seed", "warmup_epochs"), 0)
    | {"num_gsamples": 1, "kernel_hidden": 1, "degree": 1, "kan_groups": 1, "spline_order": 0, "grid_size": 0}
    | dict.fromkeys(("no_hidden", "no_layers", "n_points", "kernel_dim", "n_scales", "l_max"), 1)
    | {"ma_window_len": 0}
    | dict.fromkeys(("num_samples", "probes", "lists"), -1)
)
"""Smallest values of whole numbers, where the flag is given."""

FRACTIONS = (
    *("lambda_param", "branch_ratio", "recall", "choosing", "ghost_ratio", "sparsity"),
    *("attention_dropout", "dropout", "drop_path", "layer_dropout", "weight_dropout"),
    *("mask_threshold", "lam"),
)
"""Flags between 0 and 1."""


def check_limits(config: Any) -> None:
    """Refuse values of flags that are out of range, and flags that exclude each other.

    Args:
        config: a `TrainConfig`.

    Raises:
        InputError: a value is refused; the message names the flag, its value and what would be right.
    """
    check_at_least("--K", config.K, 0 if is_external(config.model) else 1)
    if config.qk_scale is not None and not config.qk_scale > 0:
        raise InputError(f"--qk_scale={config.qk_scale} must be positive")
    for name, least in LEAST.items():
        if not (getattr(config, name) is None and name in MAY_BE_NONE):
            check_at_least(f"--{name}", getattr(config, name), least)
    for name in FRACTIONS:
        check_fraction(f"--{name}", getattr(config, name))
    for name in ("lr", "width", "expansion_factor"):
        if not getattr(config, name) > 0:
            raise InputError(f"--{name}={getattr(config, name)} must be positive")
    if config.kernel_lr is not None and not config.kernel_lr > 0:
        raise InputError(f"--kernel_lr={config.kernel_lr} must be positive")
    ratios = ("mask_lr_ratio", "radius_lr_ratio")
    for name in (*ratios, "weight_decay", "momentum", "lr_gamma", "clip_grad_norm", "noise", "layer_scale"):
        if not getattr(config, name) >= 0:
            raise InputError(f"--{name}={getattr(config, name)} must not be negative")
    for f in fields(config):
        value = getattr(config, f.name)
        if isinstance(value, int | float):
            usual = LARGEST_NUMBER - 1 if isinstance(value, int) else LARGEST_FLOAT
            check_at_most(f"--{f.name}", value, LARGEST.get(f.name, usual))
    if config.pretrained and not is_external(config.model):
        raise InputError(f"--pretrained is for networks torchvision:NAME and timm:NAME, not for --model={config.model}")
    if config.pretrained and config.init_from is not None:
        raise InputError(f"--pretrained and --init_from={config.init_from} both say how to start; give one of them")
    if config.fsdp and config.share_kernels != "none":
        raise InputError(
            f"--fsdp divides the weights of every block by itself, and --share_kernels={config.share_kernels} gives"
            " one to several; give one of them"
        )
    if config.warmup_epochs >= config.num_epochs:
        raise InputError(f"--warmup_epochs={config.warmup_epochs} must be less than --num_epochs={config.num_epochs}")
