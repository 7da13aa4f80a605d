"""The smallest and largest values of the flags of a run."""

from convnn.train.checkpoint import LARGEST_SIDE

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
    | dict.fromkeys(("subsample", "length"), LARGEST_SIDE**2)
    | {"threads": MOST_THREADS, "width": LARGEST_FACTOR, "expansion_factor": LARGEST_FACTOR}
)
"""Largest values of flags; all other integers are below LARGEST_NUMBER, all other floats at most LARGEST_FLOAT."""

MAY_BE_NONE = (
    *("resize", "limit_train", "limit_test", "patience", "threads", "n_scales"),
    *("permuted", "subsample", "length"),
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
