"""The settings by which tokens leave a vision transformer, as `create_model` and the command line have them."""

from typing import Any

from torch import nn

from convnn.errors import check_choice
from convnn.nn import REDUCERS, reduce_tokens
from convnn.nn.registry import keyword_defaults

NAMES = {
    "token_score": "score",
    "token_heads": "over_heads",
    "token_sparsity": "sparsity",
    "token_graph": "graph",
    "token_neighbors": "K",
    "token_alpha": "alpha",
    "token_scales": "scales",
}
"""Settings of reducers, by their names here, where they stand beside those of layers."""

REDUCTION: dict[str, Any] = {
    "reduce_tokens": "none",
    "keep_tokens": 0.5,
    "num_prop": None,
    "reduce_within": None,
} | {name: keyword_defaults(REDUCERS["gtp"])[setting] for name, setting in NAMES.items()}
"""All settings with their defaults."""

NAMED_REDUCERS = ("none", *REDUCERS)


def reduce_as_asked(network: nn.Module, asked: dict[str, Any]) -> None:
    """Let tokens leave a network as some of the settings of `REDUCTION` say; those of other reducers are ignored.

    Raises:
        InputError: the reducer is unknown, a value is out of range, or the network is no vision transformer.
        UnsupportedError: its layers cannot lose tokens.
    """
    asked = REDUCTION | asked
    reducer = asked["reduce_tokens"]
    check_choice("reduce_tokens", reducer, NAMED_REDUCERS)
    if reducer == "none":
        return
    read = keyword_defaults(REDUCERS[reducer])
    settings = {setting: asked[name] for name, setting in NAMES.items() if setting in read}
    if settings.get("scales"):
        settings.pop("scales")  # on where attention is dense
    reduce_tokens(
        network,
        reducer,
        keep=asked["keep_tokens"],
        num_prop=asked["num_prop"],
        within=asked["reduce_within"],
        **settings,
    )
