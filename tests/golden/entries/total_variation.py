"""Total variation graph networks (arXiv 2211.06218): the layer in both forms, and the pooling."""

from torch import nn

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry


def _layer(case: Case) -> nn.Module:
    layer = graphs.GTVConv if case.config["form"] == "sparse" else graphs.DenseGTVConv
    return layer(**case.pick("in_channels", "out_channels", "bias", "delta", "eps", "act"))


def _pool(case: Case) -> nn.Module:
    return graphs.AsymCheegerCutPool(
        **case.pick("k", "mlp_channels", "mlp_activation", "totvar_coeff", "balance_coeff")
    )


def _call_layer(ours: nn.Module, x, edge_index, edge_weight, adj, mask):
    return ours(x, edge_index, edge_weight) if adj is None else ours(x, adj, mask)


ENTRIES = {
    "GTVConv": Entry(
        _layer,
        inputs=("x", "edge_index", "edge_weight", "adj", "mask"),
        outputs=("output.y",),
        call=_call_layer,
    ),
    "AsymCheegerCutPool": Entry(
        _pool,
        inputs=("x", "adj", "mask"),
        outputs=tuple(f"output.{name}" for name in ("s", "x_pool", "adj_pool", "tv_loss", "balance_loss")),
        names={f"mlp.{2 * i}": f"mlp.lins.{i}" for i in range(8)},
    ),
}
