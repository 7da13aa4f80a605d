"""The outputs of named layers of a network, whatever network it is."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from convnn.errors import InputError, did_you_mean

FEW = 12
"""How many layers an error lists."""


class LayerOutputs:
    """Keeps what named layers of a network return until it is taken; the network itself is not changed.

    A layer that runs several times in a forward pass gives its last output.

    Args:
        network: any module.
        names: layers, as `named_modules` calls them, such as "stages.0"; without names there is nothing to keep.

    Raises:
        InputError: the network has no such layer, or one is named twice.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> outputs = LayerOutputs(network, ["1"])
        >>> _ = network(torch.zeros(5, 4))
        >>> outputs.take()["1"].shape
        torch.Size([5, 3])
        >>> outputs.remove()
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        layers = dict(network.named_modules())
        layers.pop("", None)
        for name in names:
            if name not in layers:
                few = ", ".join(list(layers)[:FEW])
                raise InputError(
                    f"layer {name!r} is not in {type(network).__name__}{did_you_mean(name, layers)}; it has {few}"
                    + (f" and {len(layers) - FEW} more" if len(layers) > FEW else "")
                )
        if len(set(names)) < len(names):
            raise InputError(f"layers {', '.join(names)} must differ")
        self.names = tuple(names)
        self._outputs: dict[str, object] = {}
        self._handles: list[RemovableHandle] = [
            layers[name].register_forward_hook(self._keeper(name)) for name in self.names
        ]

    def _keeper(self, name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def keep(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            self._outputs[name] = output

        return keep

    def take(self) -> dict[str, Tensor]:
        """Return the outputs of the last forward pass by the names of their layers, and forget them.

        Raises:
            InputError: a layer has not run since they were last taken, or does not return a tensor.
        """
        outputs, self._outputs = self._outputs, {}
        taken: dict[str, Tensor] = {}
        for name in self.names:
            output = outputs.get(name)
            if not isinstance(output, Tensor):
                reason = f"returns {type(output).__name__}, not a tensor" if name in outputs else "was not run"
                raise InputError(f"layer {name!r} {reason}; name another")
            taken[name] = output
        return taken

    def remove(self) -> None:
        """Stop keeping outputs."""
        for handle in self._handles:
            handle.remove()
        self._outputs.clear()
