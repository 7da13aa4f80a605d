"""Fisher information embedding (arXiv 2305.07580): the layer, the pooling, and the clustering that starts them."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry

OF_PROJECTIONS = ("weight", "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
NAMES = {"weight": "mixture.weight", "bias": "mixture.bias"}
NAMES |= {f"out_proj.{name}": f"projection.{name}" for name in OF_PROJECTIONS}


def _settings(case: Case) -> dict[str, Any]:
    components, _, width = case.tensors["param.weight"].shape
    settings = case.pick("kernel", "sigma", "num_heads", subtract_mean="residual", projection="out_proj")
    return settings | {"in_channels": width, "num_mixtures": components}


def _layer(case: Case) -> nn.Module:
    settings = _settings(case) | case.pick("out_channels", "use_degree")
    if settings["projection"] is None:
        settings["out_channels"] = case.tensors["param.weight"].numel()
    return _compared(graphs.FisherEmbedding(**settings), case)


def _pooling(case: Case) -> nn.Module:
    return _compared(graphs.FisherPooling(out_channels=case.config["hidden"], **_settings(case)), case)


def _compared(ours: nn.Module, case: Case) -> nn.Module:
    """Compare with the exact gradients, which the files have beside the published ones.

    They are those of anchors of length one; the published code scales anchors outside of the gradient.
    """
    for name, exact in case.named("aux.exact_grad").items():
        case.tensors[f"grad.{name}"] = exact
    if "aux.exact_grad_input" in case.tensors:
        case.tensors["grad_input"] = case.tensors["aux.exact_grad_input"]
    projection = ours.projection
    if isinstance(projection, graphs.KernelProjection):
        projection.anchors = lambda: _of_length_one(projection.weight)
    return ours


def _of_length_one(rows: Tensor) -> Tensor:
    return rows + (F.normalize(rows, dim=1) - rows).detach()


def _centres(case: Case) -> Any:
    def centres(x: Tensor, start: Tensor) -> Tensor:
        return graphs.spherical_kmeans(x, case.config["n_clusters"], start=start, rounds=case.config["max_iters"])

    return centres


ENTRIES = {
    "FIELayer": Entry(_layer, inputs=("x", "edge_index"), names=NAMES),
    "FIEPooling": Entry(_pooling, inputs=("x", "batch"), names=NAMES),
    "spherical_kmeans": Entry(_centres, inputs=("x", "draw_init")),
}
