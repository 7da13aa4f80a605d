"""Tangent kernels of plain networks of linear maps, by backpropagation of all samples at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import Linear

from convnn.errors import InputError
from convnn.tangent.jacobian import check_inputs


def layered_kernels(
    layers: Sequence[nn.Module] | nn.Sequential,
    x: Tensor,
    activation: Callable[[Tensor], Tensor] = torch.relu,
    divisors: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    r"""Return the parts of the trace kernel from each weight and bias of a network of linear maps.

    .. math:: z_l = W_l x_l + b_l, \quad x_{l+1} = \varphi(z_l) / \sqrt{d_l}, \quad f(x) = z_L

    With :math:`S_L = I` and :math:`S_l = \varphi'(z_l) \odot (W_{l+1}^T S_{l+1}) / \sqrt{d_l}` a weight adds
    :math:`(S_l^T S_l) \odot (x_l^T x_l)`, elementwise, and a bias :math:`S_l^T S_l`. No gradient of a weight is formed.

    `tangent_kernel` finds linear maps by itself and does the same for any network; this one goes through all samples
    at once, and needs memory for (N, O, width) numbers of each layer.

    Args:
        layers: linear maps in order; of an `nn.Sequential`, its linear maps, between which the activation stands.
        x: (N, width) inputs.
        activation: elementwise :math:`\varphi`, after all linear maps but the last.
        divisors: positive :math:`d_l`, one for each linear map but the last; None is all ones.

    Returns:
        (N, N) by "0.weight", "0.bias", "1.weight" and so on, by the places of the linear maps among them; those of
        parameters that do not require gradients are left out.

    Raises:
        InputError: a layer is not linear, a width does not fit, a divisor is not positive, or their number is wrong.

    Reference:
        Engel et al., "TorchNTK", arXiv 2205.12372, explicit form; there without biases.
    """
    maps = _linear_maps(layers, x)
    scales = [one**-0.5 for one in _checked(divisors, len(maps) - 1)]
    inputs, slopes = [x], []
    with torch.enable_grad():
        for layer, scale in zip(maps, scales, strict=False):
            z = layer(inputs[-1]).detach().requires_grad_()
            value = activation(z)
            slopes.append(torch.autograd.grad(value.sum(), z)[0] * scale)
            inputs.append(value.detach() * scale)
    outputs = maps[-1].out_features
    signals = torch.eye(outputs, device=x.device, dtype=x.dtype).expand(x.shape[0], outputs, outputs)
    kernels: dict[str, Tensor] = {}
    with torch.no_grad():
        for place in reversed(range(len(maps))):
            layer = maps[place]
            products = signals.flatten(1) @ signals.flatten(1).T
            if layer.bias is not None and layer.bias.requires_grad:
                kernels[f"{place}.bias"] = products
            if layer.weight.requires_grad:
                kernels[f"{place}.weight"] = products * (inputs[place] @ inputs[place].T)
            if place:
                signals = slopes[place - 1].unsqueeze(1) * (signals @ layer.weight)
    return dict(reversed(kernels.items()))


def _linear_maps(layers: Sequence[nn.Module] | nn.Sequential, x: Tensor) -> list[Linear]:
    """Return linear maps whose widths fit each other and the inputs."""
    check_inputs("x", x)
    if isinstance(layers, nn.Sequential):
        layers = [one for one in layers if isinstance(one, nn.Linear)]
    width, maps = x.shape[-1], []
    for place, layer in enumerate(layers):
        if not isinstance(layer, nn.Linear):
            raise InputError(f"layers[{place}]={type(layer).__name__} must be a torch.nn.Linear")
        if layer.in_features != width or x.dim() != 2:
            raise InputError(
                f"layers[{place}] reads {layer.in_features} features, but its input has shape"
                f" {tuple(x.shape) if place == 0 else (x.shape[0], width)}; they must agree"
            )
        width = layer.out_features
        maps.append(layer)
    if not maps:
        raise InputError("layers=[] must have a torch.nn.Linear")
    return maps


def _checked(divisors: Sequence[float] | None, count: int) -> Sequence[float]:
    if divisors is None:
        return [1.0] * count
    if len(divisors) != count:
        raise InputError(f"divisors={list(divisors)} must have {count} numbers, one for each layer but the last")
    for place, one in enumerate(divisors):
        if not one > 0:
            raise InputError(f"divisors[{place}]={one} must be positive")
    return divisors
