"""Measure the loss and accuracy of a checkpoint."""

import argparse
import typing
from collections.abc import Mapping

from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags
from convnn.cli._images import add_fit_flag, check_criterion, config_like, fit_from, open_images, open_part
from convnn.cli._parser import Parser, add_json_flag
from convnn.data import READERS, ImageData, ImagePart, kind_of
from convnn.data.sequences import WAVEFORM_LENGTH
from convnn.errors import InputError
from convnn.models import Network
from convnn.nn import GeneratedConv, set_rate
from convnn.screen import print_json, print_line
from convnn.train import Recipe, TrainConfig, evaluate, find_device, load_checkpoint, make_accelerator
from convnn.train.checkpoint import check_classes
from convnn.words import counted

FLAGS = (
    "imports",
    "data_path",
    "noise",
    "limit_train",
    "limit_test",
    *READERS,
    "on_bad_image",
    "num_workers",
    "batch_size",
    "use_amp",
    "criterion",
    "device",
    "seed",
)


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "--dataset", default=argparse.SUPPRESS, help="data set to test on (default: the one it was trained on)"
    )
    parser.add_argument("--split", default="test", metavar="{train,val,test}", help="part of the data set")
    add_json_flag(parser)
    add_fit_flag(parser)
    add_config_flags(parser, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> None:
    """Print loss and accuracies of a checkpoint."""
    network, recipe = load_checkpoint(args.checkpoint)
    config = config_like(args, recipe, fit=fit_from(args, recipe))
    evaluate_network(network, recipe, config, console, args.split, as_json=args.json)


def evaluate_network(
    network: Network,
    recipe: Recipe,
    config: TrainConfig,
    console: Console,
    split: str = "test",
    *,
    as_json: bool = False,
) -> None:
    """Print loss and accuracies of a network on a part of the data set that the flags select."""
    check_criterion(config)
    device = find_device(config.device)
    part = load_part_like(recipe, config, split)
    accelerator = make_accelerator(device, use_amp=config.use_amp)
    set_sampling_rate(network, recipe, config)
    model = accelerator.prepare(network.to(device))
    scores = evaluate(model, part.loader, config.criterion, accelerator)
    if as_json:
        facts = {"model": recipe.model, "layer": recipe.layer, "epoch": recipe.epoch, "dataset": config.dataset}
        counts = {"split": part.name, "images": part.loader.num_samples}
        print_json(console, facts | counts | scores._asdict())
        return
    images = f"{counted(part.loader.num_samples, kind_of(part.image_shape))} of {config.dataset}"
    images += "" if part.name == "test" else f" ({part.name})"
    top5 = "" if scores.top5 is None else f", top-5 {scores.top5:.2%}"
    print_line(
        console,
        f"{recipe.model} of {recipe.layer}, epoch {recipe.epoch}, on {images}:"
        f" loss {scores.loss:.4f}, top-1 {scores.top1:.2%}{top5}",
    )


def set_sampling_rate(network: Network, recipe: Recipe, config: TrainConfig) -> None:
    """Tell the generated kernels of a network at which rate sequences are sampled, in units of that of training."""
    if len(recipe.image_shape) == 3 or config.dataset != recipe.dataset:
        return
    then, now = recipe.data_settings, config.data_settings
    rate = _step(then) / _step(now)
    if config.dataset == "waveforms":  # they last as long, however many samples they have
        rate *= (now["length"] or WAVEFORM_LENGTH) / (then.get("length") or WAVEFORM_LENGTH)
    if rate != 1 and any(isinstance(part, GeneratedConv) for part in network.modules()):
        set_rate(network, rate)


def _step(settings: Mapping[str, typing.Any]) -> int:
    """Return how many samples of the signal one of the sequence stands for."""
    return settings.get("subsample") or settings.get("average") or 1  # at least 1


def load_part_like(recipe: Recipe, config: TrainConfig, split: str) -> ImagePart:
    """Load a part of the data set that the flags select, at the image size of the checkpoint.

    Raises:
        InputError: its classes or channels differ from those of the checkpoint.
    """
    part = open_part(config, split, resize=_side(recipe), augment=False, device=find_device(config.device))
    check_like(recipe, config, part.classes, part.image_shape)
    return part


def load_images_like(recipe: Recipe, config: TrainConfig) -> ImageData:
    """Load the data set that the flags select, at the image size of the checkpoint.

    Raises:
        InputError: its classes or channels differ from those of the checkpoint.
    """
    data = open_images(config, resize=_side(recipe), augment=False, device=find_device(config.device))
    check_like(recipe, config, data.classes, data.image_shape)
    return data


def check_like(recipe: Recipe, config: TrainConfig, classes: tuple[str, ...], image_shape: tuple[int, ...]) -> None:
    """Refuse images on which the checkpoint cannot be evaluated; sequences may have another length.

    Raises:
        InputError: their classes or their shape differ from those of the checkpoint; the message names the difference.
    """
    where = f"--dataset={config.dataset} in --data_path={config.data_path}"
    check_classes(recipe, classes, where)
    are_sequences = len(image_shape) == len(recipe.image_shape) == 2
    if image_shape[:1] != recipe.image_shape[:1] or (image_shape != recipe.image_shape and not are_sequences):
        raise InputError(
            f"{where} has {kind_of(image_shape)}s of shape {image_shape}, but the checkpoint was trained on"
            f" {recipe.dataset} with shape {recipe.image_shape}"
        )


def _side(recipe: Recipe) -> int | None:
    """Return the side to which images are resized, of images or of those that become sequences."""
    if len(recipe.image_shape) == 2:
        return typing.cast("int | None", recipe.data_settings.get("resize"))
    _, height, width = recipe.image_shape
    return height if height == width else None


def refuse_sequences(recipe: Recipe, checkpoint: str, command: str) -> None:
    """Refuse the checkpoint of a network on sequences in a command that is for images.

    Raises:
        InputError: the network reads sequences; the message names what can be done with it.
    """
    if len(recipe.image_shape) == 2:
        raise InputError(
            f"checkpoint '{checkpoint}' reads sequences of shape {recipe.image_shape}, and convnn {command} is for"
            " images; convnn evaluate measures it, and convnn.load opens it in Python"
        )
