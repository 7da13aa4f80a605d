"""Our layers in the networks that people have: one of each family; `python -m survival` runs all of them."""

import pytest

from survival.networks import REFUSED, quick
from survival.trial import LAYERS, survive


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("network", quick())
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
