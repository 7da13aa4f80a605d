"""The figure of matching: `PYTHONPATH=docs python -m figures.matching`; it stands in docs/images as matching.png."""

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from convnn.data.motions import smooth_maps
from convnn.nn.matches import KernelRegressionMatcher, nearest_places
from convnn.ops.matches import cell_centers
from convnn.tasks.match import affine_flow, balanced_sample, draw_matches, warp_pair

SIDE, PIXELS = 16, 192
WITHIN = 0.2


@torch.no_grad()
def draw(path: Path) -> None:
    """Match noisy features of a texture with those of the texture turned, and draw some matches over its colours."""
    generator = torch.Generator().manual_seed(4)
    torch.manual_seed(4)
    flow = affine_flow(SIDE, generator, turn=0.8)
    features = smooth_maps(32, SIDE, 7, generator)
    source, target = warp_pair(features, flow, 0.6, generator)
    matcher = KernelRegressionMatcher(64)
    found = nearest_places(matcher(source, target), matcher)
    is_inside = (flow.abs() <= 1).all(1)
    warp = torch.cat([cell_centers(source), found, flow], 1).permute(0, 2, 3, 1)[is_inside]
    drawn = balanced_sample(warp[:, :4], torch.ones(len(warp)), 36, std=0.3, generator=generator)
    chosen = warp[drawn.first[drawn.second]]
    right = (chosen[:, 2:4] - chosen[:, 4:]).norm(dim=1) < WITHIN
    canvas = F.interpolate(features[:, :3], (PIXELS, PIXELS), mode="bicubic")
    fine = F.interpolate(flow, (PIXELS, PIXELS), mode="bilinear", align_corners=True)
    pictures = [(0.68 + 0.16 * one[0]).clamp(0, 1) for one in warp_pair(canvas, fine, 0.0, generator)]
    title = f"{int(right.sum())} of {len(right)} matches are within {WITHIN} of the true place"
    draw_matches(*pictures, chosen[:, :4], path, title=title, right=right)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "matching.png")
