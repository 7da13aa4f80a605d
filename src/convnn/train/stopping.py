"""When a run is over."""

from collections.abc import Sequence

from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult


def why_over(results: Sequence[EpochResult], config: TrainConfig) -> str | None:
    """Why a run that has these results makes no further epoch; None while it does."""
    if len(results) >= config.num_epochs:
        return f"{len(results)} epochs are done, and --num_epochs={config.num_epochs}"
    best = max((result.epoch for result in results if result.is_best), default=0)
    if config.patience is not None and len(results) - best >= config.patience:
        return f"no epoch of --patience={config.patience} was better than epoch {best}"
    return None
