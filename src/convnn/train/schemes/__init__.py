"""Schemes of training: the objectives that `--objective` and `--distill` name."""

from convnn.data import LabelledData
from convnn.errors import InputError
from convnn.models import Completion, Network, OwnLoss
from convnn.models.gnn import GNN
from convnn.models.recommender import Recommender
from convnn.models.translation import Translation
from convnn.train.config import TrainConfig
from convnn.train.flags.objectives import OF_CHOICES, OF_GRAPHS, OF_IMAGES
from convnn.train.objective import Modelling, Objective, Supervised, judging
from convnn.train.schemes.contrast import Contrast
from convnn.train.schemes.distilled import distilled
from convnn.train.schemes.graphs import SCHEMES
from convnn.train.schemes.penalised import Penalised, check_kernels
from convnn.train.schemes.recommendation import RANKINGS
from convnn.train.schemes.triples import Completing, Margin

__all__ = ["make_objective"]


def make_objective(network: Network, config: TrainConfig, data: LabelledData) -> Objective:
    """Return what the flags tell a network to learn, around that network.

    Raises:
        InputError: the objective is for other inputs, or needs a network of another form.
    """
    if isinstance(network, OwnLoss) or data.task == "modelling":
        objective = judging(network, config.criterion, data.task)
        if isinstance(objective, Modelling) and config.init_from is None:
            objective.prepare(data)
        return objective
    if isinstance(network, Recommender):
        if config.objective not in OF_CHOICES:
            raise InputError(
                f"--objective={config.objective} does not rank items; --model={config.model} learns by bpr or ultra"
            )
        return RANKINGS[config.objective](network, config, data)
    if config.objective in OF_CHOICES:
        raise InputError(
            f"--objective={config.objective} learns from what users chose, but --dataset={data.name} has {data.kind}s;"
            " leave it out"
        )
    if config.distill is not None:
        return distilled(network, config, data)
    if data.task == "completion":
        check_kernels(network, config)
        if config.objective != "labels":
            raise InputError(
                f"--objective={config.objective} is not for --dataset={data.name}, of triples; leave it out"
            )
        assert isinstance(network, Translation | Completion)  # what reads triples
        return Margin(network, config, data) if isinstance(network, Translation) else Completing(network, config)
    if config.objective in OF_IMAGES:
        if data.kind != "image" or data.task != "classification":
            raise InputError(
                f"--objective={config.objective} compares views of images, but --dataset={data.name} has {data.kind}s;"
                " leave it out"
            )
        return Contrast(network, config, data)
    if config.objective in OF_GRAPHS:
        if data.kind != "node":
            raise InputError(
                f"--objective={config.objective} learns on the nodes of one graph, but --dataset={data.name} has"
                f" {data.kind}s; leave it out"
            )
        if not (isinstance(network, GNN) and network.has_head):
            raise InputError(f"--objective={config.objective} needs a linear map after the layers; add --linear_head")
        return SCHEMES[config.objective](network, config, data)
    is_penalised = config.kernel_decay or config.nyquist_weight
    return Penalised(network, config) if is_penalised else Supervised(network, config.criterion)
