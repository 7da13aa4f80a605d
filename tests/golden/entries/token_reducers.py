"""Reducers of tokens: GTP-ViT."""

from contextlib import AbstractContextManager
from functools import partial
from unittest.mock import patch

from torch import Tensor, nn

from convnn.nn import ReducedBlocks, reduce_tokens, token_graph
from convnn.ops import Neighbors
from golden.case import Case
from golden.entry import Entry

REDUCERS = {"GraphProp": "gtp", "Mean": "mean", "None": "drop"}
SELECTIONS = {"CLSAttn": "class", "IMGAttn": "image", "DiagAttn": "diagonal", "MixedAttn": "mixed", "SumAttn": "sum",
              "CosSim": "cosine", "Random": "random"}  # fmt: skip


class _Blocks(nn.Module):
    """The blocks of timm's vision transformer alone."""

    def __init__(self, case: Case) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        config = case.config
        self.num_prefix_tokens = int(config["cls_token"])
        settings = {"mlp_ratio": config["mlp_ratio"], "qkv_bias": True, "init_values": config["layer_scale"]}
        norm = {"norm_layer": partial(nn.LayerNorm, eps=config["eps"])}
        blocks = (Block(config["dim"], config["num_heads"], **settings, **norm) for _ in range(config["depth"]))
        self.blocks = nn.Sequential(*blocks)


def _reduced(case: Case) -> ReducedBlocks:
    config = case.config
    selection = config["selection"]
    settings = {
        "score": SELECTIONS[selection.removesuffix("Max").removesuffix("Mean")],
        "over_heads": "mean" if selection.endswith("Mean") else "max",
        "sparsity": config["sparsity"],
    }
    if config["propagation"] == "GraphProp":
        # Without a class token, the published code has one neighbour more than it is asked for.
        K = max(1, config["num_neighbours"] + (not config["cls_token"]))
        settings |= {"graph": config["graph"].lower(), "K": K}
        settings |= {"alpha": config["alpha"], "scales": config["token_scale"]}
    return reduce_tokens(_Blocks(case), REDUCERS[config["propagation"]], num_prop=config["num_prop"], **settings)


def _steps(ours: ReducedBlocks, case: Case) -> dict[str, Tensor]:
    """Return which tokens stay and leave in each block, and what is carried on."""
    start, *steps = list(ours.steps(case.tensors["input"]))
    graph = start.graph or _graph(ours, case)
    found = {"graph": _dense(graph)}
    for i, tokens in enumerate(steps):
        found |= {f"kept_{i}": tokens.kept + ours.first, f"propagated_{i}": tokens.leaving + ours.first}
        found |= {f"tokens_{i}": tokens.x, f"graph_{i}": _dense(tokens.graph or graph)}
        if tokens.scales is not None:
            found[f"scales_{i}"] = tokens.scales
    return {name: found[name] for name in found.keys() & case.tensors.keys()}


def _graph(ours: ReducedBlocks, case: Case) -> Neighbors:
    """Return the published graph of a reducer that does not need one."""
    config = case.config
    patches = case.tensors["input"][:, ours.first :]
    return token_graph(patches, (config["side"],) * 2, config["graph"].lower(), max(1, config["num_neighbours"]))


def _dense(graph: Neighbors) -> Tensor:
    length = graph.indices.shape[1]
    weights = graph.scores.masked_fill(graph.absent, 0)
    return weights.new_zeros(*graph.indices.shape[:2], length).scatter_add(2, graph.indices, weights)


def _sorted_as_published(_: Case) -> AbstractContextManager:
    """Return the context in which equal scores, of tokens whose attention was set to 0, are in the order of `sort`."""
    return patch("convnn.ops.select.highest", lambda scores, K: scores.sort(dim=-1, descending=True).indices[..., :K])


_ENTRY = Entry(_reduced, also=_steps, draws=_sorted_as_published)
ENTRIES = {f"GraphPropagationBlock x {depth}": _ENTRY for depth in range(1, 13)}
