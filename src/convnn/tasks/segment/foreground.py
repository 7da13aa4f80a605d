r"""Foreground of any class, and how it weakens the background where classes are decided."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative


class ForegroundPerception(nn.Module):
    r"""Say whether a pixel belongs to an object, of whatever class, from its surroundings and the whole image.

    .. math:: g(p) = \operatorname{out}\left( \operatorname{relu}\left( (W * F)(p)
        + L \operatorname{mean}_q F(q) \right) \right)

    Args:
        channels: channels C of the features.
        hidden: channels between.

    Shapes:
        features (B, C, H, W); logits (B, H, W). Train it by binary cross-entropy, with target label > 0.

    Raises:
        InputError: an argument is out of range.

    Reference:
        The branch for open foreground of arXiv 2308.04952; formulas are the simplest that its abstract allows.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_at_least("hidden", hidden, 1)
        self.local = nn.Conv2d(channels, hidden, 3, padding=1)
        self.context = nn.Linear(channels, hidden)
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, H, W)."""
        context = self.context(features.mean((2, 3)))[:, :, None, None]
        return self.out(F.relu(self.local(features) + context)).squeeze(1)


def conditional_bias_argmax(logits: Tensor, foreground: Tensor, beta: float = 2.0, threshold: float = 0.5) -> Tensor:
    """Return the class (B, H, W) with the highest logit, the lowest of equals; in the foreground, class 0 has less.

    Args:
        logits: (B, K, H, W), class 0 the background.
        foreground: (B, H, W), logits of the foreground.
        beta: what is subtracted from the background's logit there; 0 subtracts nothing.
        threshold: probability from which a pixel is foreground; above 1 none is.

    Raises:
        InputError: the shapes do not fit, or a number is negative.

    Reference:
        arXiv 2308.04952.
    """
    check_not_negative("beta", beta)
    check_not_negative("threshold", threshold)
    if logits.dim() != 4 or foreground.shape != (logits.shape[0], *logits.shape[2:]):
        raise InputError(
            f"foreground of shape {tuple(foreground.shape)} must be (B, H, W) for logits of shape {tuple(logits.shape)}"
        )
    background = logits[:, 0] - beta * (foreground.sigmoid() >= threshold)
    return torch.cat([background.unsqueeze(1), logits[:, 1:]], dim=1).argmax(1)
