"""The features of VGG11, built of every layer."""

import statistics
from functools import partial
from typing import Any

import torch

from benchmarks.contestants import NETWORK_LAYERS, VGG11, Case, network_layer, step
from benchmarks.layers import layers_agree
from convnn.bench.measure import milliseconds, peak_megabytes, ratio
from convnn.models.vgg import vgg11


def measure_networks(batch: int, repeats: int, with_memory: bool) -> list[dict[str, Any]]:
    """Measure forward and backward of the features of VGG11 with every layer, by our backend and by the definition."""
    images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    contestants, agreement = {}, {}
    for name in NETWORK_LAYERS:
        for backend in ("auto",) if name == "Conv2d" else ("auto", "reference"):
            features = _features(name, backend)
            contestants[f"{name} {backend}"] = partial(step, features, images, True)
        agreement[name] = name == "Conv2d" or _networks_agree(name)
    times = milliseconds(contestants, repeats)
    results = []
    for key in contestants:
        name, backend = key.split()
        against_reference = ratio(times, f"{name} reference", key) if name != "Conv2d" else 1.0
        result = {
            "layer": name,
            "backend": backend,
            "batch": batch,
            "ms": statistics.median(times[key]),
            "times Conv2d": ratio(times, key, "Conv2d auto"),
            "faster than reference": against_reference,
            "agrees": agreement[name],
        }
        if with_memory:
            result["MB"] = peak_megabytes(_make_network_step, name, backend, batch)
        print(result, flush=True)
        results.append(result)
    return results


def _features(name: str, backend: str) -> torch.nn.Module:
    torch.manual_seed(0)
    layer = network_layer(name, backend)
    return vgg11(layer).features.train().to(memory_format=torch.channels_last)


def _make_network_step(name: str, backend: str, batch: int) -> tuple[Any, Any]:
    features = _features(name, backend)
    images = [torch.rand(n, 3, 32, 32).contiguous(memory_format=torch.channels_last) for n in (2, batch)]
    return partial(step, features, images[0], True), partial(step, features, images[1], True)


def _networks_agree(name: str) -> bool:
    """Compare every layer of the network on random maps: after the first layer, rounding can change the choice."""
    makers = {backend: network_layer(name, backend) for backend in ("auto", "reference")}
    return all(layers_agree(makers["auto"], makers["reference"], Case(4, *shape)) for shape in VGG11)
