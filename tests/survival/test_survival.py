"""Our layers in common networks, one of each family; `python -m survival` runs all of them."""

import pytest

from survival.networks import REFUSED, quick
from survival.trial import LAYERS, survive


def _trials() -> list:
    """Return one layer for each network in turn; the others are marked long."""
    marks = {is_usual: () if is_usual else pytest.mark.long for is_usual in (True, False)}
    return [
        pytest.param(network, layer, marks=marks[(i - j) % len(LAYERS) == 0], id=f"{network}-{layer}")
        for i, network in enumerate(quick())
        for j, layer in enumerate(LAYERS)
    ]


@pytest.mark.parametrize(("network", "layer"), _trials())
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
