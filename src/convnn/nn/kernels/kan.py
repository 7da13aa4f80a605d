"""What is published with each basis of a KAN convolution: its activations, its normalisation and its dropout."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_choice
from convnn.nn.kernels.convolution import BATCH_NORMS, check_can_normalise

NORMS: dict[str, tuple[type[nn.Module], ...]] = {
    "batch": BATCH_NORMS,
    "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
}
"""By the number of axes of the map, from one."""
BASE_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "identity": nn.Identity,
}


@dataclass(frozen=True)
class Form:
    """What surrounds a basis in a KAN convolution.

    Attributes:
        base: activation before the convolution beside the expansion; "none": there is no such convolution.
        activation: what `activate` puts at the end.
        norm: normalisation, which is before the basis for "rbf" and at the end for all others.
        dropout_first: whether dropout is before the basis instead of at the end.
    """

    base: str = "silu"
    activation: str = ""
    norm: str = "none"
    dropout_first: bool = True

    def make_activation(self, groups: int, **where: Any) -> nn.Module:
        """Return the activation at the end, for several blocks of channels."""
        if self.activation == "prelu":
            return GroupedPReLU(groups, **where)
        return nn.SiLU() if self.activation else nn.Identity()


FORMS = {
    "spline": Form("gelu", "prelu", dropout_first=False),
    "rbf": Form(norm="batch"),
    "chebyshev": Form("none", dropout_first=False),
    "gram": Form(activation="silu"),
    "legendre": Form("identity", "silu"),
    "jacobi": Form("identity", "silu"),
    "relu": Form(activation="silu"),
    "wavelet": Form(),
    "linear": Form("none"),
}
"""What is published with each basis."""
BASES = tuple(FORMS)
KAN_NORMS = ("usual", *NORMS, "none")
KAN_ACTIVATIONS = ("usual", *BASE_ACTIVATIONS, "none")


class GroupedPReLU(nn.Module):
    """PReLU with a slope for each of several blocks of channels."""

    def __init__(self, groups: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all slopes to 0.25."""
        nn.init.constant_(self.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        groups = self.weight.shape[0]
        return F.prelu(x, self.weight if groups == 1 else self.weight.repeat_interleave(x.shape[1] // groups))


def checked_form(basis: str, base_activation: str, norm_layer: str) -> Form:
    """Return what is published with a basis, with another activation or normalisation where they are not "usual".

    Raises:
        InputError: a name is unknown.
    """
    check_choice("basis", basis, BASES)
    check_choice("base_activation", base_activation, KAN_ACTIVATIONS)
    check_choice("norm_layer", norm_layer, KAN_NORMS)
    published = FORMS[basis]
    base = published.base if base_activation == "usual" else base_activation
    return replace(published, base=base, norm=published.norm if norm_layer == "usual" else norm_layer)


def drop_channels(x: Tensor, probability: float) -> Tensor:
    """Drop whole channels of each map (B, C, *S) with a probability, and scale the others up."""
    return F.dropout2d(x.flatten(2).unsqueeze(-1), probability).view_as(x) if probability > 0 else x


def make_norm(norm_layer: str, axes: int, channels: int, **where: Any) -> nn.Module:
    """Return the normalisation of maps of so many axes and channels; of "none", the identity."""
    return nn.Identity() if norm_layer == "none" else NORMS[norm_layer][axes - 1](channels, **where)


def check_norm(norm_layer: str, norm: nn.Module, x: Tensor) -> None:
    """Refuse a map (B, C, *S) that has nothing to normalise over.

    Raises:
        InputError: there is one position for "instance", or one position of one image for "batch" in training.
    """
    if norm_layer == "batch":
        check_can_normalise(norm, x)
    elif norm_layer == "instance" and x.shape[2:].numel() == 1:
        raise InputError(
            f"input of {tuple(x.shape)} has one position, over which norm_layer='instance' cannot normalise; give"
            " a larger map, or norm_layer='batch'"
        )
