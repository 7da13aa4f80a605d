"""DKM: matching by kernel regression of places, and balanced sampling."""

import statistics

import torch
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.data.motions import smooth_maps
from convnn.nn.matches import KernelRegressionMatcher, nearest_places
from convnn.ops.matches import cell_centers, cosine_matches
from convnn.tasks import match

SYSTEM = "DKM: kernel regression of places"
CLAIM = (
    "A Gaussian process from features to Fourier features of places matches better than attention, or than regression"
    " of the places themselves; and matches drawn by how few are near lead to better geometry."
)
EXPERIMENT = (
    "Maps of 16 x 16 cells with 32 smooth random features under a random affine motion, noise of deviation s on both,"
    " T = 0.2, 64 Fourier features decoded by the nearest of 64 x 64 places, nothing trained: percent of cells within"
    " 0.2 of their place. And 100 of 10,000 matches with noise 0.002, 94 % of them crowded in a small square: a"
    " homography by least squares, the median over seeds of the mean error of the corners."
)
SEEDS, NOISES = tuple(range(12)), (0.3, 1.0, 2.0)
HOMOGRAPHY = torch.tensor([[1.0, 0.1, 0.05], [-0.08, 0.95, -0.03], [0.05, -0.04, 1.0]]).double()
CORNERS = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]).double()
DRAWS = {"threshold only": {"balanced": False}, "balanced": {}, "balanced, published cut": {"min_density": 10.0}}


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = {noise: [matched(noise, seed) for seed in seeds] for noise in NOISES[: 1 if quick else 3]}
    table = {s: {name: [100 * one[name] for one in found] for name in found[0]} for s, found in runs.items()}
    typical = {name: statistics.median(corner_error(how, seed) for seed in seeds) for name, how in DRAWS.items()}
    rows = [[f"s = {s:g}: {name}, %", spread(of)] for s, found in table.items() for name, of in found.items()]
    rows += [[f"drawn {name}: error of the corners", f"{of:.4f}"] for name, of in typical.items()]
    mean = {name: statistics.mean(of) for name, of in table[0.3].items()}
    return Outcome(
        [["measured", "value"], *rows],
        {
            "at s = 0.3 Fourier is above linear by more than 30": mean["Fourier"] > mean["linear"] + 30,
            "and above attention by more than 30": mean["Fourier"] > mean["attention"] + 30,
            "and above the nearest neighbour": mean["Fourier"] > mean["nearest neighbour"],
            "balanced draws are better than the threshold alone": typical["balanced"] < typical["threshold only"],
        },
    )


@torch.no_grad()
def matched(noise: float, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    flow = match.affine_flow(16, generator)
    x, y = match.warp_pair(smooth_maps(32, 16, 6, generator), flow, noise, generator)
    torch.manual_seed(seed)
    fourier, linear = KernelRegressionMatcher(64), KernelRegressionMatcher(64, basis="linear")
    cosines = cosine_matches(x, y).flatten(3).flatten(1, 2)
    attended = ((cosines / 0.2).softmax(2) @ fourier.places(y).flatten(2).mT).mT.unflatten(2, x.shape[2:])
    found = {"Fourier": (fourier(x, y), fourier), "linear": (linear(x, y), linear), "attention": (attended, fourier)}
    places = {name: nearest_places(*one) for name, one in found.items()}
    places["nearest neighbour"] = cell_centers(y).flatten(2)[:, :, cosines.argmax(2)[0]].unflatten(2, x.shape[2:])
    return {name: match.share_right(one, flow, 0.2) for name, one in places.items()}


def mapped(matrix: Tensor, points: Tensor) -> Tensor:
    moved = torch.nn.functional.pad(points, (0, 1), value=1.0) @ matrix.T
    return moved[:, :2] / moved[:, 2:]


def corner_error(how: dict, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    points = 2 * torch.rand(10_000, 2, generator=generator, dtype=torch.double) - 1
    points[:9400] = 0.1 * points[:9400] + 0.3
    there = mapped(HOMOGRAPHY, points) + 0.002 * torch.randn(points.shape, generator=generator, dtype=torch.double)
    warp = torch.cat([points, there], 1)
    x, y, *targets = match.balanced_sample(warp, torch.ones(10_000), 100, generator=generator, **how).matches.T
    own, none = [x, y, torch.ones_like(x)], [torch.zeros_like(x)] * 3
    parts = zip((own + none, none + own), targets, strict=True)
    rows = [torch.stack([*known, -to * x, -to * y, -to], 1) for known, to in parts]
    solved = torch.linalg.svd(torch.cat(rows)).Vh[-1].reshape(3, 3)
    return (mapped(solved, CORNERS) - mapped(HOMOGRAPHY, CORNERS)).norm(dim=1).mean().item()
