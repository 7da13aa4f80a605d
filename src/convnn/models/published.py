"""Checkpoints of published networks, loaded under our names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from convnn.errors import InputError, first_line, is_out_of_memory
from convnn.models._dense import DenseNetwork
from convnn.models.hierarchical._skeleton import HierarchicalNetwork
from convnn.words import counted

WRAPPERS = ("state_dict", "model")
"""Keys under which files hold the weights, if not alone."""

UNNEEDED = "num_batches_tracked"
"""Counters of batch normalisation, which many files leave out."""


def load_published(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint of the published code into a network, batch statistics included.

    Nothing is executed, and a network that is refused keeps its weights.

    Args:
        model: a network of its default layer, with as many classes as the checkpoint: a hierarchical one, or one of
            `convnn.models.segmentation` and `convnn.models.flow`.
        path: file of torch or safetensors with the tensors under their published names, alone or under the key
            "state_dict" or "model".

    Raises:
        InputError: the network has no published names, or another layer; the file cannot be read, or its tensors have
            other names or shapes.

    Example:
        >>> from convnn.models import create_model
        >>> network = create_model("van_b0", num_classes=1000, width=0.25)
        >>> load_published(network, "van_b0.pth")
        Traceback (most recent call last):
        convnn.errors.InputError: path='van_b0.pth' must be a checkpoint, but there is no such file
    """
    if not isinstance(model, HierarchicalNetwork | DenseNetwork):
        raise InputError(
            f"model={type(model).__name__} has no published names of weights; InceptionNeXt, VAN, LSKNet, RepLKNet,"
            " SMPConv's for ImageNet, UniRepLKNet, ShiftwiseConv, RecNeXt, GC ViT, MKUNet, BEVANet,"
            " GraphUNet3d and SKFlow have"
        )
    if not model.is_published:
        raise InputError(
            f"model={type(model).__name__} is built from another layer than the published one; build it from"
            f" layer={model.default_layer!r} to load '{path}'"
        )
    found = read_tensors(Path(path))
    theirs = {model.our_name(name): name for name in found}
    tensors = model.arranged({ours: found[name] for ours, name in theirs.items()})
    model.load_state_dict(_fitted(model, tensors, theirs, Path(path)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of torch or safetensors, by their names.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    if not path.is_file():
        raise InputError(f"path='{path}' must be a checkpoint, but there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both have many errors for what is no archive, damaged or refused
        if is_out_of_memory(error):
            raise
        raise InputError(f"path='{path}' is no checkpoint that can be read: {first_line(error)}") from None
    return _unwrapped(found, path)


def _unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of what a file holds."""
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        keys = f" with {', '.join(map(repr, list(found)[:3]))}" if isinstance(found, Mapping) and found else ""
        raise InputError(f"path='{path}' holds a {type(found).__name__}{keys}, but must hold tensors by their names")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _fitted(
    model: HierarchicalNetwork | DenseNetwork, tensors: Mapping[str, Tensor], theirs: Mapping[str, str], path: Path
) -> dict[str, Tensor]:
    """Return a state dict in our shapes; errors have the published names of what is in the file.

    Raises:
        InputError: a tensor is missing, has no place or has another shape.
    """
    state, network = model.state_dict(), type(model).__name__
    needed = [name for name in state if not name.endswith(UNNEEDED)]
    if model.head_is_ours and not any(name.startswith("head.") for name in tensors):
        needed = [name for name in needed if not name.startswith("head.")]
    if missing := [name for name in needed if name not in tensors]:
        raise InputError(
            f"path='{path}' has no tensor for {_listed(missing)} of this {network}; load the checkpoint of one of the"
            " same size, before it is merged"
        )
    if unknown := [theirs.get(name, name) for name in tensors if name not in state]:
        raise InputError(
            f"path='{path}' has tensors that this {network} has no place for: {_listed(unknown)}; build the network of"
            " the same size"
        )
    for name in needed:
        if _without_ones(tensors[name].shape) != _without_ones(state[name].shape):
            raise InputError(
                f"path='{path}' has {tuple(tensors[name].shape)} for {theirs.get(name, name)}, which is"
                f" {tuple(state[name].shape)} here; build the network of the same size and number of classes"
            )
    return state | {name: tensors[name].reshape(state[name].shape) for name in needed}


def _listed(names: list[str]) -> str:
    """Return the first name, and how many others there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'other')}"


def _without_ones(shape: torch.Size) -> list[int]:
    """Return a shape without axes of one entry: linear layers are 1x1 convolutions here."""
    return [side for side in shape if side != 1]
