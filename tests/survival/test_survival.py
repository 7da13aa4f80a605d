"""Our layers in a few common networks, as `long` in one of each family; `python -m survival` runs all of them."""

from itertools import product

import pytest

from pairwise import only
from survival.networks import REFUSED, quick
from survival.trial import LAYERS, survive

USUAL = {
    ("torchvision:alexnet", "ConvNN"),
    ("torchvision:resnet18", "Branching"),
    ("torchvision:vit_b_32", "ConvNN"),
    ("timm:convnext_atto", "Branching"),
    ("timm:nf_regnet_b0", "ConvNN_Attn"),
}
"""Networks of different kinds, one of them refused, each with one layer."""


@pytest.mark.parametrize(("network", "layer"), only(USUAL.__contains__, product(quick(), LAYERS)))
def test_a_network_survives_our_layers(network: str, layer: str) -> None:
    if network.startswith("timm:"):
        pytest.importorskip("timm")
    outcome = survive(network, layer, compare=layer == "ConvNN")
    if network in REFUSED:
        assert REFUSED[network] in outcome.problem
        return
    assert not outcome.problem
    assert outcome.replaced
    assert outcome.difference is None or outcome.difference < 1e-5
