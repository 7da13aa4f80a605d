"""Schemes of training: the objectives that `--objective` and `--distill` name."""

from convnn.data import LabelledData
from convnn.errors import InputError
from convnn.models import Network
from convnn.train.config import TrainConfig
from convnn.train.flags.objectives import OF_IMAGES
from convnn.train.objective import Objective, Supervised
from convnn.train.schemes.contrast import Contrast
from convnn.train.schemes.distilled import distilled

__all__ = ["make_objective"]


def make_objective(network: Network, config: TrainConfig, data: LabelledData) -> Objective:
    """Return what the flags tell a network to learn, around that network.

    Raises:
        InputError: the objective is for other inputs, or needs a network of another form.
    """
    if config.distill is not None:
        return distilled(network, config, data)
    if config.objective in OF_IMAGES:
        if data.kind != "image" or data.task != "classification":
            raise InputError(
                f"--objective={config.objective} compares views of images, but --dataset={data.name} has {data.kind}s;"
                " leave it out"
            )
        return Contrast(network, config, data)
    return Supervised(network, config.criterion)
