"""Contrastive losses: InfoNCE by kernels of the distance (arXiv 2303.15103)."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from convnn.objectives import contrastive
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


ENTRIES = {
    "KernelInfoNCE": Entry(_info_nce, inputs=("z1", "z2", "bank"), outputs=("loss",)),
}
