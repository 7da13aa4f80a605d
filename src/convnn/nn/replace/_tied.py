"""Layers with several names, and layers that share weights, which must stay shared."""

from collections.abc import Mapping

from torch import nn


def reasons_of_sharing(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return why layers that share a parameter with another module are left, by name.

    A single layer with two names is not such a case: a single new layer replaces it.
    """
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, []).append((name, module))
    reasons = {}
    for name, layer in layers.items():
        own = set(layer.modules())
        others = [
            (other, kind) for parameter in layer.parameters() for other, kind in owners[parameter] if kind not in own
        ]
        if others:
            reasons[name] = f"it shares a parameter with {others[0][0] or type(model).__name__}, and would no longer"
    return reasons


def reasons_of_names(layers: Mapping[str, nn.Module], reasons: Mapping[str, str]) -> dict[str, str]:
    """Return, by name, why layers are left that are left under another of their names."""
    left = {layers[name]: name for name in reasons}
    return {
        name: f"it is the same layer as {left[layer]}, which is left"
        for name, layer in layers.items()
        if layer in left and name not in reasons
    }
