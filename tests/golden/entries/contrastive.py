"""Contrastive losses: InfoNCE by kernels of the distance (arXiv 2303.15103), of neighbours (SCGC, arXiv 2204.12656)."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from convnn.objectives import contrastive
from convnn.objectives.self_training import target_distribution
from convnn.ops.influence import influence_matrix
from golden.case import Case
from golden.entry import Entry

EPS = 1e-6
"""What the published code of InfoNCE adds to every sum."""
SETTINGS = {"gamma": "gamma", "distance_p": "p", "gamma_lambd": "weight", "temperature2": "second_temperature"}
MIXTURES = {"origin": None, "sum": "sum", "product": "concat"}


def _info_nce(case: Case) -> Callable[..., Tensor]:
    config = case.config
    temperature = config.get("temperature", 0.1)
    if order := config.get("acos_order"):
        score = contrastive.ArcCosine(order, temperature, EPS)
        return lambda z1, z2, bank: contrastive.info_nce(z1, z2, score, bank=bank, eps=EPS)
    kind = config.get("loss_type", "origin")
    if kind == "spectral":
        return lambda z1, z2, _: contrastive.spectral_contrast(z1, z2, eps=EPS)
    settings = {ours: config[theirs] for theirs, ours in SETTINGS.items() if theirs in config}
    loss = partial(contrastive.kernel_info_nce, temperature=temperature, mixture=MIXTURES[kind], eps=EPS, **settings)
    return lambda z1, z2, bank: loss(z1, z2, bank=bank)


LAYERS_OF_ENCODER = {"enc_1": "0", "enc_2": "2", "enc_3": "4", "z_layer": "6"}
LAYERS_OF_DECODER = {"dec_1": "0", "dec_2": "2", "dec_3": "4", "x_bar_layer": "6"}
NAMES_OF_SCGC = {f"ae.{theirs}": f"network.encoder.{ours}" for theirs, ours in LAYERS_OF_ENCODER.items()}
NAMES_OF_SCGC |= {f"ae.{theirs}": f"network.decoder.{ours}" for theirs, ours in LAYERS_OF_DECODER.items()}
NAMES_OF_SCGC |= {"cluster_layer": "loss.centers"}


def _scgc(case: Case) -> nn.Module:
    config, tensors = case.config, case.tensors
    decodes = case.layer == "SCGC"
    network = contrastive.Autoencoder(tensors["x"].shape[1], config["hidden"], config["n_z"], decodes=decodes)
    influence = _influence(case)
    settings = case.pick("tau", "alpha", "beta", freedom="v")
    loss = contrastive.SCGCLoss(config["n_clusters"], config["n_z"], influence, **settings)
    return nn.ModuleDict({"network": network, "loss": loss})


def _influence(case: Case) -> Tensor:
    edges, nodes, config = case.tensors["edges"], case.tensors["x"].shape[0], case.config
    return influence_matrix(
        edges, nodes, config["order"], cumulative=config["influence"], dtype=case.tensors["x"].dtype
    )


def _run_scgc(ours: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
    z, decoded = ours["network"](x)
    loss = ours["loss"]
    terms = loss(z, x, decoded)
    q = loss.assign(z)
    found = {"loss": sum(terms.values()), "z": z, "q": q, "p": target_distribution(q), "x_bar": decoded}
    found |= {"loss_contrast": terms["contrast"] / loss.alpha, "loss_kl": terms["clusters"] / loss.beta}
    return found | {"loss_re": terms.get("reconstruction")}


def _graphs_of_scgc(_: nn.Module, case: Case) -> dict[str, Tensor]:
    edges, x = case.tensors["edges"], case.tensors["x"]
    return {"influence": _influence(case), "adj": influence_matrix(edges, x.shape[0], 1, dtype=x.dtype)}


SCGC = Entry(_scgc, inputs=("x",), names=NAMES_OF_SCGC, call=_run_scgc, also=_graphs_of_scgc)


ENTRIES = {
    "KernelInfoNCE": Entry(_info_nce, inputs=("z1", "z2", "bank"), outputs=("loss",)),
    "SCGC": SCGC,
    "SCGC*": SCGC,
    "ncontrast": Entry(
        lambda case: partial(contrastive.neighbor_contrast, **case.pick("tau")), ("z", "weight"), ("loss",)
    ),
}
