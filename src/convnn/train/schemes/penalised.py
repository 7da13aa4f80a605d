"""Learning from labels with penalties on generated kernels, as `--kernel_decay` and `--nyquist_weight` add them."""

from torch import Tensor

from convnn.data import Batch
from convnn.errors import InputError
from convnn.models import Network
from convnn.nn import GeneratedConv
from convnn.objectives.sampled_kernels import SampledKernels, gabor_parts, kernel_decay, nyquist_penalty
from convnn.train.config import TrainConfig
from convnn.train.objective import Outcome, Supervised


class Penalised(Supervised):
    """The criterion between logits and labels, and penalties on the kernels that the network has generated for them.

    Each penalty counts once for every sample, so that it does not depend on the size of a batch.

    Args:
        network: the network.
        config: flags of the run.

    Raises:
        InputError: the network has no kernels that a penalty is for.
    """

    def __init__(self, network: Network, config: TrainConfig) -> None:
        super().__init__(network, config.criterion)
        check_kernels(network, config)
        self.sampled = SampledKernels(network)
        self.weights = {"kernel_decay": config.kernel_decay, "nyquist": config.nyquist_weight}
        self.with_masks = config.nyquist_target == "gabor+mask"

    @property
    def terms(self) -> tuple[str, ...]:  # type: ignore[override]  # as the flags have it
        """The labels, and the penalties that have a weight."""
        return ("labels", *(name for name, weight in self.weights.items() if weight))

    def learn(self, batch: Batch) -> Outcome:
        """Return the criterion and the weighted penalties, each as often as there are samples."""
        logits: Tensor = self.network(batch.inputs)
        sampled = self.sampled.take()
        parts = {"labels": self.criterion(logits, batch.labels)}
        if weight := self.weights["kernel_decay"]:
            parts["kernel_decay"] = len(batch.labels) * weight * kernel_decay(sampled)
        if weight := self.weights["nyquist"]:
            parts["nyquist"] = len(batch.labels) * weight * nyquist_penalty(sampled, with_masks=self.with_masks)
        return Outcome.of(logits, parts)


def check_kernels(network: Network, config: TrainConfig) -> None:
    """Refuse penalties on kernels that a network does not have.

    Raises:
        InputError: it has none; the message names the flag.
    """
    layers = [part for part in network.modules() if isinstance(part, GeneratedConv)]
    chosen = f"--model={config.model} with --layer={config.layer}"
    if config.kernel_decay and not layers:
        raise InputError(
            f"--kernel_decay={config.kernel_decay} is for generated kernels, and {chosen} has none; leave it out, or"
            " choose a layer such as CKConv"
        )
    if config.nyquist_weight and not any(gabor_parts(layer)[0] for layer in layers):
        raise InputError(
            f"--nyquist_weight={config.nyquist_weight} is for kernels of Gabor filters, and {chosen} has none; leave it"
            " out, or choose FlexConv or CCNNConv"
        )
