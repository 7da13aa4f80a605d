"""Layers of kernels in windows on a named backend."""

from typing import Any

import pytest
import torch

from convnn import nn as cnn
from convnn.backends import cpu
from convnn.errors import InputError
from convnn.nn.registry import entry_for
from convnn.ops import _sliding
from kernel_layers import KERNELS, maps, with_statistics

LAYERS = [name for name in KERNELS if "backend" in entry_for(name).settings]

pytestmark = pytest.mark.skipif(cpu.core is None, reason="not compiled")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the backends that sliding convolutions are computed by."""
    seen: list[str] = []
    operator = _sliding.sliding

    def sliding(*arguments: Any) -> torch.Tensor:
        seen.append(arguments[-1])
        return operator(*arguments)

    monkeypatch.setattr(_sliding, "sliding", sliding)
    return seen


def test_which_layers_have_backends() -> None:
    assert set(KERNELS) - set(LAYERS) == {"CKConv", "SMPConv", "FlexConv", "CCNNConv", "SGConv", "LongConv"}


@pytest.mark.parametrize("name", LAYERS)
def test_the_named_backend_computes_a_layer_and_its_merged_form(name: str, calls: list[str]) -> None:
    x = maps(4, 9, 8)
    outputs = []
    for backend in ("reference", "cpu"):
        torch.manual_seed(0)
        layer = with_statistics(cnn.layer_factory(name, **KERNELS[name], backend=backend)(4, 4))
        outputs.append(layer(x))
        assert bool(calls) == (backend == "cpu")
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-12)
    calls.clear()
    torch.testing.assert_close(cnn.merge(layer).model(x), outputs[0], rtol=0, atol=1e-11)
    assert set(calls) == {"cpu"}


@pytest.mark.parametrize("name", LAYERS)
def test_an_unknown_backend_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="backend='gpu'"):
        cnn.layer_factory(name, **KERNELS[name], backend="gpu")(4, 4)
