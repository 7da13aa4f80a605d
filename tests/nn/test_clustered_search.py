"""Layers that search in clusters, and the warning about slow exact searches."""

import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from convnn import nn as cnn
from convnn.cli import plain_warnings
from convnn.errors import InputError, UnsupportedError
from convnn.export import export_onnx
from convnn.models import create_model
from convnn.nn import _cost
from convnn.ops import clusters
from convnn.viz import neighbor_statistics

MAPS = [cnn.ConvNN2d, cnn.ConvNNAttn2d]
TOKENS = [cnn.ConvNNAttention, cnn.KvtAttention]


def _pair(layer_type: type[nn.Module], *sizes: int, **settings: object) -> tuple[nn.Module, nn.Module]:
    """Return an exact layer and a clustered one with the same weights."""
    exact = layer_type(*sizes, K=5).eval()
    clustered = layer_type(*sizes, K=5, search="clustered", **settings).eval()
    clustered.load_state_dict(exact.state_dict())
    return exact, clustered


def _smooth(batch: int, channels: int, side: int) -> torch.Tensor:
    noise = torch.randn(batch, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (side, side), mode="bicubic")


@pytest.mark.parametrize("layer_type", MAPS)
def test_a_layer_on_maps_with_all_clusters_open_is_the_exact_one(layer_type: type[nn.Module]) -> None:
    x = _smooth(2, 3, 12)
    exact, all_open = _pair(layer_type, 3, 4, probes=400, lists=400)  # or as many as the map has
    assert torch.equal(all_open(x), exact(x))
    _, few_open = _pair(layer_type, 3, 4, probes=1)
    few_open.load_state_dict(exact.state_dict())
    assert not torch.equal(few_open(x), exact(x))


@pytest.mark.parametrize("layer_type", TOKENS)
def test_a_layer_on_tokens_with_all_clusters_open_is_the_exact_one(layer_type: type[nn.Module]) -> None:
    x = torch.randn(2, 60, 8, generator=torch.Generator().manual_seed(0))
    exact, all_open = _pair(layer_type, 8, 2, probes=7, lists=7)
    torch.testing.assert_close(all_open(x), exact(x))
    few_open = layer_type(8, 2, K=5, search="clustered", probes=1)
    few_open.load_state_dict(exact.state_dict())
    assert not torch.allclose(few_open.eval()(x), exact(x))


def test_a_network_trains_with_the_clustered_search() -> None:
    network = create_model("vgg11", "ConvNN", width=1 / 16, search="clustered", probes=2)
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_the_share_that_is_found_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "FEWEST", 1000)
    x = _smooth(2, 8, 32)
    exact, clustered = _pair(cnn.ConvNN2d, 8, 4, recall=0.8)
    assert neighbor_statistics(exact, [[x]])[0].recall != neighbor_statistics(exact, [[x]])[0].recall  # NaN
    [measured] = neighbor_statistics(clustered, [[x]])
    assert 0.75 < measured.recall < 1
    found, true = (layer.neighbors(x).indices[..., 1:].sort().values for layer in (clustered, exact))
    pairs = zip(found.flatten(0, 1).tolist(), true.flatten(0, 1).tolist(), strict=True)
    share = sum(len(set(a) & set(b)) for a, b in pairs)
    assert measured.recall == pytest.approx(share / true.numel())
    assert clustered.search.search == "clustered"


def test_it_is_not_exported() -> None:
    _, clustered = _pair(cnn.ConvNN2d, 3, 4)
    with pytest.raises(UnsupportedError, match=r"^search='clustered' cannot be exported, .* search='exact'"):
        export_onnx(clustered, "never.onnx", torch.randn(1, 3, 20, 20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": "cluster"}, r"^search='cluster' is not one of exact, clustered; did you mean 'clustered'\?$"),
        ({"recall": 0.9}, r"^recall=0.9 must be 0.95 with search='exact'; choose search='clustered'$"),
        ({"probes": 3}, r"^probes=3 must be -1 with search='exact'; choose search='clustered'$"),
        ({"search": "clustered", "recall": 0.0}, r"^recall=0 must be above 0 and at most 1$"),
        ({"search": "clustered", "probes": 0}, r"^probes=0 must be an integer of at least 1$"),
        ({"search": "clustered", "lists": -2}, r"^lists=-2 must be an integer of at least 1$"),
        ({"search": "clustered", "recall": 0.9, "probes": 2}, r"^recall=0.9 and probes=2 must not both be given$"),
        (
            {"search": "clustered", "similarity_type": "Window"},
            r"^search='clustered' must be 'exact' with simil",
        ),
    ],
    ids=str,
)
def test_errors(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cnn.ConvNN2d(3, 4, **settings)


@pytest.mark.filterwarnings("always")
def test_the_command_line_says_it_in_one_line(capsys: pytest.CaptureFixture) -> None:
    with plain_warnings("convnn"), plain_warnings("convnn train"):
        warnings.warn(_cost.SlowSearchWarning("it is slow"), stacklevel=1)
    assert capsys.readouterr().err == "convnn train: it is slow\n"


def test_a_slow_search_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cost._Said, "is_said", False)
    monkeypatch.setattr(_cost, "WORK", 1000)
    x = torch.randn(1, 2, 20, 20)
    with warnings.catch_warnings():  # none of these is slow
        warnings.simplefilter("error")
        cnn.ConvNN2d(2, 4, sampling_type="random", num_samples=9)(x)
        cnn.ConvNN2d(2, 4, search="clustered", probes=1)(x)
        cnn.ConvNN2d(2, 4)(torch.randn(1, 2, 8, 8))
        cnn.ConvNN2d(60, 4)(torch.randn(1, 60, 20, 20))
    with pytest.warns(_cost.SlowSearchWarning, match=r"^comparing 400 positions with 484 takes .* 27 convolutions"):
        cnn.ConvNN2d(2, 4)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cnn.ConvNN2d(2, 4)(x)


def test_measuring_what_a_clustered_search_finds_is_not_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cost._Said, "is_said", False)
    monkeypatch.setattr(_cost, "WORK", 1000)
    x = torch.randn(1, 2, 20, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neighbor_statistics(cnn.ConvNN2d(2, 4, search="clustered", probes=1), [[x]])
    with pytest.warns(cnn.SlowSearchWarning):  # it may still be said of an exact layer
        neighbor_statistics(cnn.ConvNN2d(2, 4), [[x]])


def test_code_compiled_before_the_warning_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cost._Said, "is_said", False)
    graphs = CompileCounter()
    search, x = torch.compile(cnn.Search(K=3).nearest, backend=graphs), torch.randn(1, 9, 2)
    search(x, x)
    _cost._Said.is_said = True
    search(x, x)
    assert graphs.frame_count == 1
