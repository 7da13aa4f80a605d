"""Objectives of a network that a teacher teaches, as `--distill` makes them."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from convnn.data import Batch, LabelledData, example_of
from convnn.errors import InputError
from convnn.models import Network, ViT
from convnn.nn._modes import evaluating
from convnn.objectives import CSKD, LayerOutputs, OFADistillation, logit_distillation
from convnn.objectives.distillation import guess_class_tokens, make_projector
from convnn.train.config import TrainConfig
from convnn.train.objective import Objective, Outcome
from convnn.train.optim import precise
from convnn.train.schemes.stages import channels_of, layers_of_stages
from convnn.train.schemes.teacher import Teacher, load_teacher


class Distilled(Objective):
    """A network that learns from labels and from a teacher; the terms of its loss are weighted.

    Args:
        network: the student.
        criterion: the loss of the labels, as in `Objective`.
        teacher: what teaches it; it is neither trained nor saved.
        weights: of the terms.

    Raises:
        InputError: there are not as many weights as terms; in training: the run was begun with another teacher.
    """

    terms: ClassVar[tuple[str, ...]] = ("labels", "logits")
    usual_weights: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    teacher_digest: Tensor

    def __init__(self, network: Network, criterion: str, teacher: Teacher, weights: Sequence[float] = ()) -> None:
        super().__init__(network, criterion)
        self.teacher = teacher
        self.weights = tuple(weights) or self.usual_weights
        if len(self.weights) != len(self.terms):
            raise InputError(
                f"--distill_weights={','.join(map(str, weights))} must be {len(self.terms)} numbers, for"
                f" {', '.join(self.terms)}"
            )
        # Saved with the run, so that it does not go on under another teacher.
        self.register_buffer("teacher_digest", teacher.digest.clone())

    def begin_epoch(self, epoch: int) -> None:
        """Refuse a teacher other than the one that a resumed run had."""
        if not torch.equal(self.teacher_digest.cpu(), self.teacher.digest):
            raise InputError("--distill has other weights than the teacher with which the run began; give that one")

    def _weighted(self, logits: Tensor, *parts: Tensor) -> Outcome:
        """Return the outcome of a batch from its unweighted terms, each summed over the samples."""
        terms = {name: w * part for name, w, part in zip(self.terms, self.weights, parts, strict=True)}
        return Outcome.of(logits, terms)


class LogitDistilled(Distilled):
    """A network that learns a teacher's probabilities: `logit_distillation`."""

    def __init__(
        self,
        network: Network,
        criterion: str,
        teacher: Teacher,
        weights: Sequence[float] = (),
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(network, criterion, teacher, weights)
        self.temperature = temperature

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss of a batch, that of its labels and of the teacher's logits."""
        logits, wanted = self.network(batch.inputs), self.teacher.logits(batch.inputs)
        taught = logit_distillation(precise(logits), wanted, temperature=self.temperature)
        return self._weighted(logits, self.criterion(logits, batch.labels), len(wanted) * taught)


class OFADistilled(Distilled):
    """A network that learns a teacher's probabilities at the end of each stage: `OFADistillation`.

    Args:
        network: the student.
        criterion: the loss of the labels.
        teacher: what teaches it.
        weights: of labels, logits and features.
        scheme: the losses, with a projector for each layer, by its stage.
        layers: names of the layers, in the order of the projectors.
    """

    terms = ("labels", "logits", "features")
    usual_weights = (1.0, 1.0, 1.0)

    def __init__(
        self,
        network: Network,
        criterion: str,
        teacher: Teacher,
        weights: Sequence[float] = (),
        *,
        scheme: OFADistillation,
        layers: Sequence[str],
    ) -> None:
        super().__init__(network, criterion, teacher, weights)
        self.scheme = scheme
        self.outputs = LayerOutputs(network, layers)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss of a batch, that of its labels, of its logits and of the projected features."""
        logits, wanted = self.network(batch.inputs), self.teacher.logits(batch.inputs)
        features = dict(zip(self.scheme.projectors, self.outputs.take().values(), strict=True))
        taught = self.scheme(precise(logits), features, wanted, batch.labels)
        return self._weighted(logits, self.criterion(logits, batch.labels), *(len(wanted) * part for part in taught))


class CSKDDistilled(Distilled):
    """A ViT whose distillation token and patches learn from a CNN: `CSKD`.

    Args:
        network: the student, with a distillation token.
        criterion: the loss of the labels, which its class token learns.
        teacher: a CNN.
        weights: of labels, token and patches.
        scheme: the losses.
        epochs: how many there are in all.

    Raises:
        InputError: the student is no such ViT.
    """

    terms = ("labels", "token", "patches")
    usual_weights = (0.5, 0.5, 1.0)

    def __init__(
        self,
        network: Network,
        criterion: str,
        teacher: Teacher,
        weights: Sequence[float] = (),
        *,
        scheme: CSKD,
        epochs: int,
    ) -> None:
        if not isinstance(network, ViT) or network.distillation_token is None:
            raise InputError(
                "--distill_loss=cskd teaches a ViT with a second token, such as --model vit --distillation_token;"
                " --distill_loss=ofa teaches any network on images"
            )
        super().__init__(network, criterion, teacher, weights)
        self.vit = (network,)  # a tuple, so that its weights are not saved twice
        self.scheme = scheme
        self.epochs = epochs
        self.ratio = 1.0
        self.outputs = LayerOutputs(network, ["blocks"])

    def begin_epoch(self, epoch: int) -> None:
        """Set the share of the local responses, and refuse another teacher."""
        super().begin_epoch(epoch)
        self.ratio = self.scheme.ratio(epoch - 1, self.epochs)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss of a batch: of the class token, of the distillation token, and of the patches."""
        [network] = self.vit
        logits, responses = self.network(batch.inputs), self.teacher.responses(batch.inputs)
        image, token, patches = map(precise, network.responses(self.outputs.take()["blocks"]))
        height, width = (side // network.patch_size for side in batch.inputs.shape[2:])
        taught = self.scheme.losses(token, patches, responses, self.ratio, grid=(height, width))
        return self._weighted(logits, self.criterion(image, batch.labels), *(len(logits) * part for part in taught))


def distilled(network: Network, config: TrainConfig, data: LabelledData) -> Distilled:
    """Return the objective that `--distill` and its flags describe, on the device of the network.

    Raises:
        InputError: the teacher does not fit the data, the loss does not fit the network, or a flag cannot be read.
    """
    if data.task != "classification":
        raise InputError(f"--distill teaches classes, but --dataset={config.dataset} has numbers to predict")
    if config.distill_loss != "logits" and data.kind != "image":
        raise InputError(f"--distill_loss={config.distill_loss} is for images; {data.kind}s can be taught by logits")
    device = next(network.parameters()).device
    teacher = load_teacher(config, data, device)
    example = example_of(data.input_shape, data.kind, count=2, device=device)
    teacher.logits(example)  # what it cannot read is refused before anything is written
    weights = numbers("--distill_weights", config.distill_weights)
    given = (network, config.criterion, teacher, weights)
    if config.distill_loss == "ofa":
        scheme, layers = _projected(network, teacher, config, data.num_classes, example)
        return OFADistilled(*given, scheme=scheme, layers=layers)
    if config.distill_loss == "cskd":
        about = CSKD(
            token=config.distill_token,
            patches=config.distill_patches,
            temperature=config.distill_temperature,
            decay=config.distill_decay,
        )
        teacher.responses(example)
        return CSKDDistilled(*given, scheme=about, epochs=config.num_epochs)
    return LogitDistilled(*given, temperature=config.distill_temperature)


def _projected(
    network: Network, teacher: Teacher, config: TrainConfig, num_classes: int, example: Tensor
) -> tuple[OFADistillation, list[str]]:
    """Return the scheme of OFA-KD for a student, and the layers that it reads."""
    stages = layers_of_stages(network, config.distill_layers)
    try:
        shapes = _shapes(network, list(stages), example)
        student_dim = shapes[-1][1] if len(shapes[-1]) == 2 else shapes[-1][0]
        teacher_dim = channels_of(teacher.network, example)
        projectors = {
            str(stage): make_projector(
                shape,
                num_classes,
                stage=stage,
                student_dim=student_dim,
                teacher_dim=teacher_dim,
                class_tokens=guess_class_tokens(shape[0]) if len(shape) == 2 else 0,
            )
            for stage, shape in zip(stages.values(), shapes, strict=True)
        }
    except InputError as error:
        raise InputError(f"--distill_layers={config.distill_layers or ','.join(stages)}: {error}") from None
    exponents = numbers("--distill_exponents", config.distill_exponents)
    return OFADistillation(projectors, exponents=exponents, temperature=config.distill_temperature), list(stages)


@torch.no_grad()
def _shapes(network: Network, layers: Sequence[str], example: Tensor) -> list[tuple[int, ...]]:
    """Return the shape of what each layer returns for a sample."""
    outputs = LayerOutputs(network, layers)
    try:
        with evaluating(network), torch.random.fork_rng():  # some layers draw their neighbours
            network(example)
        return [tuple(output.shape[1:]) for output in outputs.take().values()]
    finally:
        outputs.remove()


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Read numbers of at least 0, separated by commas.

    Raises:
        InputError: it is no such text.
    """
    try:
        found = tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError:
        found = (math.nan,)
    if not all(0 <= number < math.inf for number in found):
        raise InputError(f"{option}={text} must be numbers of at least 0, separated by commas")
    return found
