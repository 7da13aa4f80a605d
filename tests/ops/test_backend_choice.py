"""The choice of the backend, and the error when it cannot compute."""

import pytest
import torch

from convnn import nn as cnn
from convnn.backends import cpu, reference, triton
from convnn.backends.cpu import _core
from convnn.backends.request import Request
from convnn.errors import InputError, UnsupportedError
from convnn.ops import BACKEND_CHOICES, Neighbors, aggregate, backend_report, select, weigh
from convnn.ops._dispatch import find_kernels

needs_core = pytest.mark.skipif(cpu.core is None, reason="the core is not compiled")
without_gpu = pytest.mark.skipif(not triton.unavailable_reasons(), reason="triton runs here")


def _request(**changes: object) -> Request:
    return Request("nearest", torch.device("cpu"), torch.float32, 9, 16)._replace(**changes)


@needs_core
def test_auto_takes_the_core_on_the_cpu() -> None:
    assert find_kernels("auto", _request()) is cpu


def test_auto_takes_the_definition_where_nothing_else_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_kernels("auto", _request(device=torch.device("meta"))) is reference
    monkeypatch.setattr(cpu, "core", None)
    assert find_kernels("auto", _request()) is reference
    with pytest.raises(UnsupportedError, match="backend='cpu' cannot compute nearest of 16 float32 channels with K=9"):
        find_kernels("cpu", _request())


@without_gpu
def test_a_named_backend_gives_every_reason() -> None:
    x = torch.randn(1, 100, 4, dtype=torch.float64)
    with pytest.raises(NotImplementedError) as caught:
        select.nearest(x, x, 9, backend="triton")
    for reason in ("device must be cuda", "dtype must be one of", "not float64"):
        assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UnsupportedError, match="device must be cuda"):
        cnn.ConvNN2d(3, 4, backend="triton")(torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("layer", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
def test_an_unknown_backend_is_refused(layer: type[torch.nn.Module]) -> None:
    with pytest.raises(InputError, match="backend='tritn' is not one of auto, cpu, triton, reference; did you mean"):
        layer(3, 4, backend="tritn")
    x, indices = torch.randn(1, 4, 2), torch.zeros(1, 4, 1, dtype=torch.long)
    for call in (
        lambda: select.nearest(x, x, 1, backend="gpu"),
        lambda: weigh.similarity(Neighbors(indices), x, x, backend="gpu"),
        lambda: aggregate.convolve(x, Neighbors(indices), torch.ones(1, 2, 1), backend="gpu"),
    ):
        with pytest.raises(InputError, match="backend='gpu' is not one of"):
            call()


def test_the_layer_says_which_backend_it_was_given() -> None:
    assert "backend='reference'" in repr(cnn.ConvNN2d(3, 4, backend="reference"))
    assert "backend" not in repr(cnn.ConvNN2d(3, 4))


@needs_core
@pytest.mark.parametrize("build", [cnn.ConvNN2d, cnn.ConvNNAttn2d, cnn.Branching2d.with_convnn])
def test_backends_train_alike(build) -> None:
    results = {}
    for backend in ("cpu", "reference"):
        torch.manual_seed(1)
        layer = build(5, 6, K=9, backend=backend).eval()
        x = torch.randn(3, 5, 9, 7, generator=torch.Generator().manual_seed(2), requires_grad=True)
        layer(x).square().sum().backward()
        results[backend] = [x.grad, *[p.grad for p in layer.parameters()]]
    for found, expected in zip(results["cpu"], results["reference"], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_report_names_every_backend() -> None:
    assert ("auto", *backend_report()) == BACKEND_CHOICES
    assert backend_report()["reference"] == []


def test_a_core_that_does_not_load_is_not_taken_for_one_that_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(_core, "import_module", fail)
    module, instruction_set, fault = _core._load()
    assert (module, instruction_set) == (None, "none")
    assert fault == "the compiled core does not load (libgomp.so.1: cannot open shared object file); install again"
