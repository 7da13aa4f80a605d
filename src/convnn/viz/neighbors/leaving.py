"""The patches that leave a vision transformer in each block, and to whom they pass on their features."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn import ReducedBlocks, Tokens
from convnn.nn._modes import evaluating
from convnn.viz.neighbors.layers import LayerNeighbors


def reduced_blocks(model: nn.Module) -> dict[str, ReducedBlocks]:
    """Return the blocks in which tokens leave, by their paths in the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ReducedBlocks)}


def find_leaving(model: nn.Module, image: Tensor) -> list[LayerNeighbors]:
    """Find which patches leave in each block, and who receives their features.

    Args:
        model: a network whose tokens `reduce_tokens` makes fewer; its hooks and modes are restored afterwards.
        image: (1, C, H, W), prepared as for training.

    Returns:
        One entry for each block in which patches leave: the queries are those that leave, their neighbours those that
        stay and receive their features, scored by the share; `gone` are all that have left by then.

    Raises:
        InputError: no patch leaves.
    """
    found: list[LayerNeighbors] = []

    def record(blocks: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(blocks, ReducedBlocks)
        found.extend(_of_blocks(names[blocks], blocks, inputs[0]))

    names = {blocks: name for name, blocks in reduced_blocks(model).items()}
    hooks = [blocks.register_forward_pre_hook(record) for blocks in names]
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), evaluating(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise InputError(f"no patch leaves {type(model).__name__}; let some leave, by keep below 1")
    return found


def _of_blocks(name: str, blocks: ReducedBlocks, x: Tensor) -> Iterator[LayerNeighbors]:
    before, *steps = blocks.steps(x)
    size = blocks.size_of(before.places.shape[1])
    everyone, gone = before.places[0], torch.zeros_like(before.places[0], dtype=torch.bool)
    for i, after in enumerate(steps):
        if after.leaving is not None:
            leaving = before.places[0, after.leaving[0]]
            is_patch = leaving >= 0  # and no average of earlier ones
            gone = gone | torch.isin(everyone, leaving)
            receivers, shares = _receivers(before, after)
            places = torch.where(receivers < 0, leaving[:, None], receivers)
            queries, neighbors = _at(leaving[is_patch], size), _at(places[is_patch], size)
            scores = shares[is_patch].float().cpu()
            yield LayerNeighbors(f"{name}.{i}", size, queries, neighbors, scores, gone=_at(gone.nonzero()[:, 0], size))
        before = after


def _receivers(before: Tokens, after: Tokens) -> tuple[Tensor, Tensor]:
    """Return the patches (P, R) that receive each that leaves, and their weights in the graph; -1 and 0 for nobody."""
    assert after.kept is not None
    assert after.leaving is not None
    kept, leaving = after.kept[0], after.leaving[0]
    if before.graph is None:
        return torch.full_like(leaving, -1)[:, None], torch.zeros(leaving.shape[0], 1, device=leaving.device)
    indices, scores, absent = (None if one is None else one[0, kept] for one in before.graph)
    assert indices is not None
    assert scores is not None
    is_edge = torch.ones_like(indices, dtype=torch.bool) if absent is None else ~absent
    passed = ((indices == leaving[:, None, None]) & is_edge).double()  # (P, k, K)
    weights = (passed * scores).sum(-1)
    most = max(1, int((weights > 0).sum(1).max()))
    shares, order = weights.sort(dim=1, descending=True, stable=True)
    shares, receivers = shares[:, :most], before.places[0, kept][order[:, :most]]
    return torch.where(shares > 0, receivers, -1), shares


def _at(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """Return row and column of patches, (..., 2)."""
    return torch.stack([patches // size[1], patches % size[1]], dim=-1).cpu()
