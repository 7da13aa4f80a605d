"""When a run is over."""

from collections.abc import Sequence

from convnn.train.config import TrainConfig


def why_over(accuracies: Sequence[float], config: TrainConfig) -> str | None:
    """Why a run with these accuracies on the validation part makes no further epoch; None while it does."""
    done = len(accuracies)
    if done >= config.num_epochs:
        return f"{done} epochs are done, and --num_epochs={config.num_epochs}"
    best = 1 + accuracies.index(max(accuracies)) if accuracies else 0
    if config.patience is not None and done - best >= config.patience:
        return f"no epoch of --patience={config.patience} was better than epoch {best}"
    return None
