"""Networks of torchvision and timm, with their convolutions or attention replaced by our layers."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError, check_choice, did_you_mean
from convnn.models._network import Network
from convnn.models._pretrained import fetched, load_torchvision_weights
from convnn.nn import ReplacementReport, replace_layers
from convnn.nn.registry import entry_for
from convnn.nn.replace import can_keep_weights, kept_settings
from convnn.packages import need

UNCHANGED = "Conv2d"
"""The layer that leaves a network unchanged."""


class ExternalNetwork(Network):
    """A network of another library.

    Args:
        name: name of the library and the network, such as "timm:convnext_tiny".
        layer: layer that replaces its convolutions, or its attention if it reads tokens; "Conv2d" replaces nothing.
        in_channels: number of channels of the images.
        num_classes: number of classes.
        width: 1, the original width.
        where: pattern of the names of the layers to replace.
        K: number of neighbours of each position; 0: as many as the replaced window has positions.
        pretrained: start from the pretrained weights of the library. Replaced layers keep theirs if `replace_layers`
            can keep them with these settings, and are initialised at random otherwise.
        settings: settings of the layer.

    Attributes:
        network: the network of the library.
        report: report on the replaced layers; None if none were to be replaced.
        fresh: names of the weights of the head or first layer that are initialised at random in a pretrained network.
        keeps_weights: whether the replaced layers kept their pretrained weights.

    Raises:
        InputError: the library is not installed or has no such network, or `replace_layers` refuses; in forward: the
            network does not accept images of this size.
    """

    report: ReplacementReport | None = None
    keeps_weights: bool = False

    def __init__(
        self,
        name: str,
        layer: str,
        *,
        in_channels: int = 3,
        num_classes: int = 10,
        width: float = 1.0,
        where: str = "*",
        K: int = 0,
        pretrained: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        if width != 1:
            raise InputError(f"width={width} must be 1 for {name!r}, whose channels its authors chose")
        library, _, network = name.partition(":")
        self.name = name
        self.network, self.fresh = LIBRARIES[library][1](network, in_channels, num_classes, pretrained)
        self.head = nn.Identity()
        if K:
            settings["K"] = K
        if layer != UNCHANGED:
            self.report = self._replace(layer, where, settings, pretrained)

    def _replace(self, layer: str, where: str, settings: dict[str, Any], pretrained: bool) -> ReplacementReport:
        """Replace layers, keeping pretrained weights if possible."""
        if pretrained and can_keep_weights(layer, settings):
            try:
                report = replace_layers(self.network, layer, where, keep_weights=True, **settings)
            except (InputError, UnsupportedError):  # their shapes do not allow it; nothing has been replaced yet
                pass
            else:
                self.keeps_weights = True
                return report
        return replace_layers(self.network, layer, where, **settings)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits: only the library knows what belongs to the head."""
        with self.translated_refusals(x):
            return self.network(x)

    @contextmanager
    def translated_refusals(self, x: Tensor) -> Iterator[None]:
        """Turn the assertions by which both libraries refuse the size of images into errors of input.

        Raises:
            InputError: the size of the images (B, C, H, W) is refused.
        """
        try:
            yield
        except AssertionError as error:
            sides = "x".join(map(str, x.shape[2:]))
            raise InputError(
                f"images of {sides} pixels do not suit {self.name}: {error}; resize them to another size"
            ) from None


def is_external(name: str) -> bool:
    """Return whether a name consists of a library and a network."""
    return ":" in name


def check_external(name: str, argument: str = "model") -> None:
    """Refuse a network that is in none of the libraries.

    Raises:
        InputError: the library is unknown or not installed, or has no such network; the message names the nearest.
    """
    library, _, network = name.partition(":")
    check_choice(f"library of {argument}", library, LIBRARIES)
    names = LIBRARIES[library][0]()
    if network not in names:
        raise InputError(f"{argument}={name!r} is not a network of {library}{did_you_mean(network, names)}")


def replacement_settings(layer: str) -> set[str]:
    """Return the settings of a layer that the replaced layer does not determine."""
    return set() if layer == UNCHANGED else entry_for(layer, "maps").settings.keys() - kept_settings(layer)


def _torchvision_names() -> list[str]:
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def _torchvision(name: str, in_channels: int, num_classes: int, pretrained: bool) -> tuple[nn.Module, tuple[str, ...]]:
    import torchvision

    build = torchvision.models.get_model_builder(name)
    settings: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        settings |= {"aux_logits": False, "init_weights": True}
    network = build(**settings)
    fresh = load_torchvision_weights(name, network) if pretrained else ()
    if in_channels != 3:
        first = _change_input(network, in_channels)
        fresh = (f"{first}.weight", *fresh) if pretrained else ()
    return network, fresh


def _change_input(network: nn.Module, in_channels: int) -> str:
    """Change the input channels of the first convolution, and return its name."""
    name, old = next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d))
    of_conv = inspect.signature(nn.Conv2d).parameters.keys() & vars(old).keys()
    settings = {setting: getattr(old, setting) for setting in of_conv} | {"in_channels": in_channels}
    network.set_submodule(name, nn.Conv2d(**settings | {"bias": old.bias is not None}))
    return name


def _timm() -> Any:
    return need("timm", "a network timm:NAME", extra="timm")


def _timm_names() -> list[str]:
    return _timm().list_models()


def _build_timm(name: str, in_channels: int, num_classes: int, pretrained: bool) -> tuple[nn.Module, tuple[str, ...]]:
    sizes = {"in_chans": in_channels, "num_classes": num_classes}
    if not pretrained:
        return _timm().create_model(name, pretrained=False, **sizes), ()
    build = _timm().create_model
    network = fetched(f"timm:{name}", lambda: build(name, pretrained=True, **sizes))
    head, learned = network.pretrained_cfg.get("classifier"), network.pretrained_cfg.get("num_classes")
    heads = tuple(f"{one}." for one in ((head,) if isinstance(head, str) else head or ()))
    is_fresh = bool(heads) and learned != num_classes
    return network, tuple(key for key, _ in network.named_parameters() if is_fresh and key.startswith(heads))


Builder = Callable[[str, int, int, bool], tuple[nn.Module, tuple[str, ...]]]

LIBRARIES: dict[str, tuple[Callable[[], list[str]], Builder]] = {
    "torchvision": (_torchvision_names, _torchvision),
    "timm": (_timm_names, _build_timm),
}
"""What lists the networks of a library, and what makes one, pretrained or not, and tells which weights are fresh."""
