"""SMPConv: points that move learn a large kernel with few weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from convnn.nn import SMPConv2d

SYSTEM = "SMPConv: moving points"
CLAIM = "A large kernel needs few weights if these move to where they are needed."
EXPERIMENT = (
    "A kernel of 17 x 17 taps, two Gaussian blobs of opposite sign on either side of its middle, is to be learned from"
    " 6 maps of white noise of 20 x 20 and their convolutions with noise of that deviation: by SMPConv with 12 points"
    " of initial radius 0.4; by the same with fixed places; and by free taps. 300 steps of AdamW on the squared error."
    " Error: of the output on new maps without noise, relative to its square."
)
SEEDS = (0, 1, 2)
SIDE = 17


def target() -> Tensor:
    """Return the kernel to be learned, (1, 1, SIDE, SIDE) of length 1."""
    along = torch.linspace(-1, 1, SIDE)

    def blob(down: float, right: float) -> Tensor:
        return torch.exp(-((along.unsqueeze(1) - down).square() + (along - right).square()) / (2 * 0.15**2))

    kernel = blob(-0.45, 0.3) - blob(0.35, -0.4)
    return (kernel / kernel.norm()).view(1, 1, SIDE, SIDE)


def maps(number: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(number, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    return x, F.conv2d(x, target(), padding=SIDE // 2)


def points(*, move: bool) -> nn.Module:
    layer = SMPConv2d(1, 1, horizon=SIDE, n_points=12, radius=0.4, coord_std=0.4)
    layer.operator.kernel.places.requires_grad_(move)
    return layer


def measure(seeds: list[int], quick: bool) -> Outcome:
    makers = {
        "moving points": lambda: points(move=True),
        "points in fixed places": lambda: points(move=False),
        "free taps": lambda: nn.Conv2d(1, 1, SIDE, padding=SIDE // 2),
    }
    errors: dict[str, list[float]] = {name: [] for name in makers}
    for name, make in makers.items():
        for seed in seeds:
            x, clean = maps(6, seed)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(100 + seed))
            noisy = clean + noise * clean.std()
            trained = fit(make, x, noisy, seed=seed, steps=3 if quick else 300, loss=F.mse_loss, lr=1e-2)
            test, expected = maps(64, 1000 + seed)
            with torch.no_grad():
                errors[name].append(100 * (F.mse_loss(trained(test), expected) / expected.square().mean()).item())
    weights = {name: sum(p.numel() for p in make().parameters() if p.requires_grad) for name, make in makers.items()}
    rows = [[name, str(weights[name]), spread(errors[name])] for name in makers]
    return Outcome(
        [["kernel", "learned weights", "error, %"], *rows],
        {
            "moving points have at most a fifth of the weights of free taps": 5 * weights["moving points"]
            <= weights["free taps"],
            "and a lower error": is_above(errors["free taps"], errors["moving points"]),
            "where points cannot move, the error is higher": is_above(
                errors["points in fixed places"], errors["moving points"]
            ),
        },
    )
