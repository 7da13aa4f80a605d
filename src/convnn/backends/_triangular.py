"""The definition of the inverse of triangular convolutions, in plain PyTorch; see `convnn.ops.triangular`."""

import torch
from torch import Tensor


def solve_triangular(z: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Undo a triangular convolution, one anti-diagonal after the other; see `convnn.ops.triangular.solve`."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    taps = weight.to(dtype).unflatten(0, (groups, -1)).flatten(3)  # (G, q, q, kh * kw), the pixel itself last
    (rows, columns), (height, width) = z.shape[2:], weight.shape[2:]
    out = z.new_zeros(*z.shape[:2], rows + height - 1, columns + width - 1, dtype=dtype)  # zeros before the map
    x, seen = out.unflatten(1, (groups, -1)), z.to(dtype).unflatten(1, (groups, -1))
    for t in range(rows + columns - 1):
        i = torch.arange(max(0, t - columns + 1), min(rows - 1, t) + 1, device=z.device)
        before = [x[..., i + a, t - i + b] for a in range(height) for b in range(width)][:-1]
        right = seen[..., i, t - i]
        if before:
            right = right - torch.einsum("gock,bgcnk->bgon", taps[..., :-1], torch.stack(before, dim=-1))
        solved = torch.linalg.solve_triangular(taps[..., -1], right, upper=False)
        x[..., i + height - 1, t - i + width - 1] = solved
    return out[..., height - 1 :, width - 1 :].to(z.dtype).contiguous()
