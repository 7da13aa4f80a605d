"""Networks that know their own loss and need no labels."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from convnn.models._network import Network


class Answer(NamedTuple):
    """What a network says about a batch of B samples, which may be 0 where processes share it.

    Attributes:
        terms: the parts of the loss by name, () each, summed over the samples, with gradients; the loss is their sum.
        figures: numbers (B,) for each sample, by name, which are shown and compared.
    """

    terms: Mapping[str, Tensor]
    figures: Mapping[str, Tensor] = {}


class OwnLoss(Network):
    """A network of data without labels, such as a flow, a diffusion or a codec: `forward` returns its loss.

    The Trainer minimises the sum of the terms, for each sample on average. The epoch of the best first figure on the
    validation part is best, or that of the lowest loss if there are none. In training, random numbers come from torch's
    generators, which are seeded before every batch; so they are in evaluation, where a batch gets the same in every
    epoch. The constructor passes `in_channels` and `width` on; there are no classes, whatever `num_classes` is.

    Attributes:
        data: what its data sets have: "images" of whole numbers, or what `convnn.data.UNLABELLED_SETS` calls them.
        defaults: defaults of flags of training that differ from the usual ones, such as dataset and lr.
        terms: names of the terms, in the order of `Answer`; may depend on the settings.
        figures: names of the figures; each is a share of which more is better, or one of `convnn.figures.FIGURES`.
    """

    fewest_classes: ClassVar[int] = 0
    data: ClassVar[str] = "images"
    defaults: ClassVar[Mapping[str, Any]] = {}
    terms: tuple[str, ...] = ("loss",)
    figures: tuple[str, ...] = ()

    def __init__(self, in_channels: int, num_classes: int = 0, width: float = 1.0) -> None:
        super().__init__(in_channels, 0, width)

    def forward(self, x: Any) -> Answer:  # type: ignore[override]  # others return logits
        """Return the loss of a batch of inputs, in the form of its data set.

        Raises:
            InputError: the inputs have another form.
        """
        raise NotImplementedError

    def answer_to_none(self, like: Tensor) -> Answer:
        """Return the answer to no sample, in the type of a tensor: processes that share a batch need gradients of 0."""
        nothing = 0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        return Answer(dict.fromkeys(self.terms, nothing), dict.fromkeys(self.figures, like.new_zeros(0)))

    def prepare(self, x: Any) -> None:
        """Take from the first batch of training what depends on the data, before a run that starts from nothing."""

    def prepare_from(self, batches: Iterable[Any]) -> None:
        """Do the same from as many batches of the first epoch as are needed: by default `prepare` reads one.

        Args:
            batches: inputs, which are not empty.
        """
        for x in batches:
            self.prepare(x)
            return

    def begin_epoch(self, epoch: int) -> None:
        """Take note that an epoch begins, counted from 1; a resumed run says so in the middle of one too."""

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> Any:
        """Return inputs of the shape that the data set names, by which operations are counted: zeros (count, *shape).

        Networks on what is no single tensor return another example.
        """
        return torch.zeros(count, *shape, device=device)
