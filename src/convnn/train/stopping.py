"""The end of a run."""

from collections.abc import Sequence

from convnn.train.config import TrainConfig
from convnn.words import counted


def stop_reason(accuracies: Sequence[float], config: TrainConfig) -> str | None:
    """Return why a run with these validation accuracies is finished, or None if another epoch follows."""
    done = len(accuracies)
    if done >= config.num_epochs:
        return f"{counted(done, 'epoch')} done with --num_epochs={config.num_epochs}"
    best = 1 + accuracies.index(max(accuracies)) if accuracies else 0
    if config.patience is not None and done - best >= config.patience:
        return f"no epoch was better than epoch {best} within --patience={config.patience}"
    return None
