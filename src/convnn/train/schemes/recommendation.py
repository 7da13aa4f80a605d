"""Learning to rank items from what users chose."""

from typing import ClassVar

import torch
from torch import Tensor

from convnn.data import Batch, LabelledData
from convnn.errors import InputError
from convnn.models.recommender import Recommender
from convnn.nn.graphs.batch import InteractionBatch
from convnn.objectives.infinite_layers import InfiniteLayers, infinite_layers, ultra_loss
from convnn.objectives.ranking import OtherItems, bpr_loss
from convnn.train.config import TrainConfig
from convnn.train.objective import Objective, Outcome


class OfChoices(Objective):
    """A loss of users, an item that each chose, and items that are drawn; evaluation ranks all items.

    The logits of training are the scores of the chosen item, which is first, and of those that are drawn.

    Args:
        network: the recommender; what it computes once from the interactions, it computes here.
        config: flags of the run.
        data: interactions.
    """

    network: Recommender
    default_negatives: ClassVar[int] = 1

    def __init__(self, network: Recommender, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config.criterion)
        self.sizes = network.in_channels, network.num_classes
        self.decay = config.embedding_decay
        self.negatives = self.default_negatives if config.negatives is None else config.negatives
        first: Batch = next(iter(data.train))
        self.processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        self.edge_index: Tensor = first.inputs.edge_index
        network.prepare(self.edge_index)

    def scores(self, rows: Tensor, of_items: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Return the scores (B, 1 + M) of the chosen items (B,) and those drawn (B, M) for vectors (B, C) of users."""
        candidates = torch.cat([chosen[:, None], drawn], 1)
        return torch.einsum("bc,bmc->bm", rows, of_items[candidates])


class Ranking(OfChoices):
    """Bayesian personalised ranking: what a user chose scores above an item that it did not."""

    def __init__(self, network: Recommender, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        self.others = OtherItems(self.edge_index, *self.sizes)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss, the mean over the items drawn for each choice, and the scores."""
        choices: InteractionBatch = batch.inputs
        users, chosen, encoder = choices.users, choices.items, self.network.encoder
        assert chosen is not None  # in training
        many = users.repeat_interleave(self.negatives)
        drawn = self.others.draw(many).view(-1, self.negatives)
        of_users, of_items = encoder(choices.edge_index)
        scores = self.scores(of_users[users], of_items, chosen, drawn)
        above = scores[:, :1].expand(-1, self.negatives).flatten()
        rows = [encoder.users(many), encoder.items(chosen.repeat_interleave(self.negatives)), encoder.items(drawn)]
        decaying = [*rows, *(weight * (self.negatives / self.processes) ** 0.5 for weight in encoder.decaying())]
        loss = bpr_loss(above, scores[:, 1:].flatten(), decaying, decay=self.decay)
        return Outcome(users.shape[0] * loss, scores)


class Constrained(OfChoices):
    """UltraGCN's loss: choices against items drawn, and items chosen together, with weights by the degrees."""

    terms: ClassVar[tuple[str, ...]] = ("choices", "together", "decay")
    default_negatives: ClassVar[int] = 20

    def __init__(self, network: Recommender, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config, data)
        self.weights = parse_weights(config.choice_weights)
        self.negative_weight, self.constraint_weight = config.negative_weight, config.constraint_weight
        if config.item_neighbors > self.sizes[1]:
            raise InputError(f"--item_neighbors={config.item_neighbors} must be at most {self.sizes[1]}, all items")
        if config.layer != "UltraGCN" and config.layer != "MF":
            raise InputError(
                f"--objective=ultra stands for propagation, but --layer={config.layer} propagates; give bpr"
            )
        constants = infinite_layers(self.edge_index, *self.sizes, config.item_neighbors)
        for name, part in constants.to(self.edge_index.device, torch.float32)._asdict().items():
            self.register_buffer(f"constant_{name}", part)

    @property
    def constants(self) -> InfiniteLayers:
        """What the interactions say, as buffers, which are on the device of the network."""
        return InfiniteLayers(*(getattr(self, f"constant_{name}") for name in InfiniteLayers._fields))

    def learn(self, batch: Batch) -> Outcome:
        """Return the terms of the loss and the scores; items are drawn from all, also those that a user has."""
        choices: InteractionBatch = batch.inputs
        users, chosen, encoder = choices.users, choices.items, self.network.encoder
        assert chosen is not None  # in training
        drawn = torch.randint(self.sizes[1], (users.shape[0], self.negatives), device=users.device)
        of_users, of_items = encoder(choices.edge_index)
        found = ultra_loss(
            (of_users, of_items),
            self.constants,
            users,
            chosen,
            drawn,
            weights=self.weights,
            negative_weight=self.negative_weight,
        )
        penalty = self.decay / (2 * self.processes) * (of_users.square().sum() + of_items.square().sum())
        terms = {"choices": found.choices, "together": self.constraint_weight * found.similar, "decay": penalty}
        return Outcome.of(self.scores(of_users[users], of_items, chosen, drawn), terms)


def parse_weights(text: str) -> tuple[float, float, float, float]:
    """Return the four weights of `--choice_weights`.

    Raises:
        InputError: they are not four numbers of at least 0.
    """
    try:
        first, second, third, fourth = (float(word) for word in text.split(","))
        if not all(0 <= weight < float("inf") for weight in (first, second, third, fourth)):
            raise ValueError
    except ValueError:
        raise InputError(f"--choice_weights={text} must be four numbers of at least 0, such as 1e-6,1,1e-6,1") from None
    return first, second, third, fourth


RANKINGS: dict[str, type[OfChoices]] = {"bpr": Ranking, "ultra": Constrained}
