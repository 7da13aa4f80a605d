"""Filters of graphs: ChebGibbsNet (arXiv 2412.01789), HoloNets (arXiv 2310.02232), PDF (arXiv 2305.06102)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry, Refused

NODES = ("x", "edge_index", "edge_weight")
GIBBS_NAMES = {"cheb_coef": "coefficients", "gibbs_damp": None, "chebgibbs_prop": "propagate"}
GIBBS_NAMES |= {"linear1": "lin1", "linear2": "lin2"}


def _gibbs(case: Case) -> dict[str, Any]:
    return case.pick("mu", "xi", "stigma", "heta", hops="K", damping="gibbs_type")


def _gibbs_network(case: Case) -> nn.Module:
    settings = case.pick("hidden", "dropout") | _gibbs(case)
    return graphs.ChebGibbsNet(case.config["in_channels"], case.config["num_classes"], **settings)


def _damping(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the fixed factors and, of a propagation, the homophily of what it reads."""
    name = "gibbs_damp" if "param.gibbs_damp" in case.tensors else "chebgibbs_prop.gibbs_damp"
    series = getattr(ours, "propagate", ours)
    homophily = graphs.node_homophily(case.tensors["x"], case.tensors["edge_index"])
    return {f"param.{name}": torch.tensor(series.factors, dtype=torch.double), "node_homophily": homophily}


def _damping_table(case: Case) -> Any:
    """Return all factors of the table; a name such as "wang_s0.8_h4.K5" has the parameters that are not usual."""
    usual = {name: case.config[name] for name in ("mu", "xi", "stigma", "heta")}
    letters = {"mu": "mu", "xi": "xi", "s": "stigma", "h": "heta"}

    def call() -> dict[str, Tensor]:
        found = {}
        for name in case.tensors:
            damping, _, order = name.rpartition(".K")
            kind, *changes = damping.split("_")
            changed = {letters[c.rstrip("0123456789.")]: float(c.lstrip("muxish")) for c in changes}
            factors = graphs.gibbs_damping(int(order), kind, **usual | changed)
            found[name] = torch.cat([case.tensors[name][:1], factors[1:]]) if kind == "wang" else factors
        return found

    return call


def _holo(case: Case) -> dict[str, Any]:
    settings = case.pick("zero_order", hops="K", out_weight="alpha", degree_exponent="exponent")
    if case.config["weight_penalty"] is None:
        raise Refused("weight_penalty=None: the published code raises for it")
    return settings | {"power_damping": case.config["weight_penalty"], "learn_out_weight": "grad.alpha" in case.tensors}


def _faber(case: Case) -> nn.Module:
    return graphs.Holo(case.config["in"], case.config["out"], **_holo(case))


def _complex_faber(case: Case) -> nn.Module:
    return graphs.Holo(case.config["in"], case.config["out"], **_holo(case), dtype=torch.cdouble)


def _holo_network(case: Case) -> nn.Module:
    config = case.config
    if config["conv_type"] != "fabernet":
        raise Refused(f"conv_type={config['conv_type']!r}: the published complex network has no numbers of its own")
    settings = case.pick("hidden", "layers", "normalize", "dropout", jump="jk", slope="lrelu_slope")
    return graphs.HoloNet(config["in"], config["classes"], **settings, **_holo(case))


def _directions(case: Case) -> dict[str, str | None]:
    """Name the linear maps by their powers, of which published ones begin with 1 beside those of power 0."""
    first = int(bool(case.config["zero_order"]))
    learned = "grad.alpha" in case.tensors
    names: dict[str, str | None] = {"alpha": "out_weight" if learned else None}
    for theirs, ours in (("src_to_dst", "out_neighbors"), ("dst_to_src", "in_neighbors")):
        names[f"lin_{theirs}_zero"] = f"{ours}.0"
        names |= {f"lins_{theirs}.{k}": f"{ours}.{k + first}" for k in range(case.config["K"])}
    return names


def _complex_maps(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Join pairs of real maps, u and v to W_r u - W_i v and W_i u + W_r v with all biases, to complex ones."""
    out = {}
    for theirs, direction in (("src_to_dst", "out_neighbors"), ("dst_to_src", "in_neighbors")):
        first = ours.powers[0] == 0
        places = {k: f"{theirs}.{k - first}" for k in range(len(ours.powers))} | (
            {0: f"{theirs}_zero"} if first else {}
        )
        for k, place in places.items():
            lin = "lin" if place.endswith("zero") else "lins"
            for part, sign in (("weight", 0), ("bias", 1)):
                real, imaginary = (named[f"{lin}_{one}_{place}.{part}"] for one in ("real", "imag"))
                out[f"{direction}.{k}.{part}"] = torch.complex(real - sign * imaginary, imaginary + sign * real)
    return out


def _complex_call(ours: nn.Module, real: Tensor, imaginary: Tensor, *graph: Tensor | None) -> tuple[Tensor, Tensor]:
    y = ours(torch.complex(real, imaginary), *graph)
    return y.real, y.imag


SUPPORTS = {"DEN": "dense", "SPA": "sparse"}
POOLS = {"S": "sum", "M": "mean", "X": "max"}


def _bases(case: Case) -> Any:
    config = case.config
    powers = [one if isinstance(one, int) else tuple(one) for one in config["power"]]

    def call(edge_index: Tensor, nodes: Tensor) -> dict[str, Tensor]:
        pairs, bases = graphs.pdf_bases(
            edge_index,
            int(nodes),
            config["epsilon"],
            powers,
            degree_exponents=config["degs"],
            support=SUPPORTS[config["basis"]],
            normalize=config["basis_norm"],
            hops=config["edgehop"],
            self_loops=False,
        )
        return {"new_edge_index": pairs, "bases": bases}

    return call


@contextmanager
def _in_float64(_: Case) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(before)


class _Stack(nn.Module):
    """A filter, and layers that it is the filter of."""

    def __init__(self, case: Case, of_filter: dict[str, Any], of_layers: dict[str, Any]) -> None:
        super().__init__()
        channels = case.config["hidden"]
        self.filter = graphs.PDFFilter(case.tensors["bases"].shape[1], channels, **of_filter)
        self.convs = nn.ModuleList(graphs.PDFConv(channels, **of_layers) for _ in range(case.config["layers"]))

    def forward(self, x: Tensor, edge_index: Tensor, bases: Tensor, edge_attr: Tensor | None) -> Tensor:
        weight = self.filter(bases, edge_index, x.shape[0])
        for conv in self.convs:
            x = conv(x, edge_index, weight, edge_attr)
        return x


def _tu(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the filter and of the layers for graphs without features of edges."""
    norm = {"batch_norm": case.config["batch_norm"]}
    return norm | case.pick("edge_softmax"), norm | {"activation": case.config["nonlinear"].lower()}


def _zinc_stack(case: Case) -> nn.Module:
    form = case.pick(linear="linear_filter", shared="shared_filter")
    return _Stack(case, form | {"batch_norm": False, "edge_softmax": False}, {})


def _tu_network(case: Case) -> nn.Module:
    of_filter, of_layers = _tu(case)
    sizes = case.pick("hidden", "layers") | {"pool": POOLS[case.config["pooling"]]}
    bases = case.tensors["bases"].shape[1]
    return graphs.PDFNet(case.config["in"], case.config["out"], bases, **sizes, **of_filter | of_layers)


def _pdf_names(case: Case) -> dict[str, str]:
    encoder = "filter_encoder.0" if case.config.get("linear_filter") else "filter_encoder"
    head = {"lin0": "lin", "lin1": "head.0", "lin2": "head.3"}
    return {encoder: "filter.mlp", "pre_ffn": "before", "ffn": "after"} | head


PAIRS = ("x", "edge_index", "bases")
PDF_NETWORK = Entry(_tu_network, inputs=(*PAIRS, "batch"), names=_pdf_names)
ENTRIES = {
    "ChebGibbsProp": Entry(
        lambda case: graphs.ChebGibbsProp(**_gibbs(case)), inputs=NODES, names=GIBBS_NAMES, also=_damping
    ),
    "ChebGibbsNet": Entry(_gibbs_network, inputs=NODES, names=GIBBS_NAMES, also=_damping),
    "Gibbs damping": Entry(_damping_table, inputs=()),
    "FaberConv": Entry(_faber, inputs=NODES, names=_directions, aside=("published.output", "adj_norm", "adj_t_norm")),
    "61-holonets/GNN": Entry(_holo_network, inputs=NODES, names=_directions, aside=("published.output",)),
    "ComplexFaberConv (intended form)": Entry(
        _complex_faber,
        inputs=("x_real", "x_imag", "edge_index", "edge_weight"),
        outputs=("output_real", "output_imag"),
        arrange=_complex_maps,
        call=_complex_call,
        gradients={"x_real": "grad_input_real", "x_imag": "grad_input_imag"},
        aside=("published.output_real", "published.output_imag"),
    ),
    "basis_transform": Entry(_bases, inputs=("edge_index", "num_nodes"), draws=_in_float64),
    "tu filter + Conv stack": Entry(
        lambda case: _Stack(case, *_tu(case)),
        inputs=(*PAIRS, "edge_attr"),
        names=_pdf_names,
        aside=("batch",),
    ),
    "zinc filter + Conv stack": Entry(_zinc_stack, inputs=(*PAIRS, "edge_attr"), names=_pdf_names),
    "tu Net": PDF_NETWORK,
    "49-pdf/Net": PDF_NETWORK,
}
