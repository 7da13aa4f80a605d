"""Measure the loss and accuracy of a checkpoint."""

import argparse
import typing
from collections.abc import Callable, Mapping

from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags
from convnn.cli._images import add_fit_flag, check_criterion, config_like, fit_from, open_data, open_part
from convnn.cli._parser import Parser, add_json_flag
from convnn.data import READERS, SEGMENTATION_SETS, LabelledData, LabelledPart
from convnn.data.sequences import WAVEFORM_LENGTH
from convnn.errors import InputError
from convnn.figures import figure_of
from convnn.models import Network
from convnn.nn import GeneratedConv, set_rate
from convnn.screen import print_json, print_line
from convnn.train import Recipe, TrainConfig, evaluate, find_device, judging, load_checkpoint, make_accelerator
from convnn.train.checkpoint import check_classes, check_names
from convnn.train.overlap import make_meter
from convnn.train.schemes.probe import PROBES, probe_accuracy
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


Acceptance = Callable[[str, Network, Recipe], None]
"""What refuses the checkpoint of a path if it is none of an application."""

Further = Callable[[Network, Recipe, LabelledPart, int], Mapping[str, float]]
"""What an application measures besides, of a part of the data and by a seed."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "--dataset", default=argparse.SUPPRESS, help="data set to test on (default: the one it was trained on)"
    )
    parser.add_argument("--part", default="test", metavar="{train,val,test}", help="part of the data set")
    parser.add_argument(
        "--by",
        default="head",
        choices=("head", *PROBES),
        help="what judges: the network itself, or, of the features before its last linear layer, nearest neighbours or"
        " a logistic regression that learn from the train part",
    )
    add_json_flag(parser)
    add_fit_flag(parser)
    add_config_flags(parser, only=FLAGS)


def run(
    args: argparse.Namespace, console: Console, accept: Acceptance | None = None, further: Further | None = None
) -> None:
    """Print loss and accuracies of a checkpoint, which an application accepts, and what that has to add."""
    network, recipe = load_checkpoint(args.checkpoint)
    if accept is not None:
        accept(args.checkpoint, network, recipe)
    config = config_like(args, recipe, fit=fit_from(args, recipe))
    if args.by != "head":
        refuse_masks(recipe, args.checkpoint, f"--by={args.by}")
        probe_network(network, recipe, config, console, args.part, args.by, as_json=args.json)
        return
    evaluate_network(network, recipe, config, console, args.part, as_json=args.json, further=further)


def evaluate_network(
    network: Network,
    recipe: Recipe,
    config: TrainConfig,
    console: Console,
    part_name: str = "test",
    *,
    as_json: bool = False,
    further: Further | None = None,
) -> None:
    """Print loss and accuracies of a network on a part of the data set that the flags select.

    Args:
        network, recipe: of a checkpoint.
        config: flags.
        console: console to print on.
        part_name: the part.
        as_json: print one object.
        further: returns more figures.
    """
    check_criterion(config)
    device = find_device(config.device)
    part = load_part_like(recipe, config, part_name)
    accelerator = make_accelerator(device, use_amp=config.use_amp)
    set_sampling_rate(network, recipe, config)
    objective = judging(network.to(device), config.criterion, part.task)
    meter = make_meter(part.task, len(part.classes), accelerator.device, objective.terms, objective.figures)
    model = accelerator.prepare(objective)
    scores = evaluate(model, part.loader, accelerator, meter=meter)
    more = {} if further is None else further(network, recipe, part, config.seed)
    if as_json:
        facts = {"model": recipe.model, "layer": recipe.layer, "epoch": recipe.epoch, "dataset": config.dataset}
        counts = {"part": part.name, f"{part.counted}s": part.loader.num_samples}
        accuracies = {"top1": scores.top1, "top5": scores.top5} if recipe.classes else {}
        print_json(console, facts | counts | {"loss": scores.loss} | accuracies | {**scores.measures, **more})
        return
    images = f"{counted(part.loader.num_samples, part.counted)} of {config.dataset}"
    images += "" if part.name == "test" else f" ({part.name})"
    texts = scores.texts | {name: figure_of("loss").text(scores.measures[name]) for name in objective.terms}
    texts |= {name: f"{value:.4f}" for name, value in more.items()}
    shares = "".join(f", {name} {text}" for name, text in texts.items())
    print_line(
        console,
        f"{recipe.model} of {recipe.layer}, epoch {recipe.epoch}, on {images}: loss {scores.loss:.4f}{shares}",
    )


def probe_network(
    network: Network,
    recipe: Recipe,
    config: TrainConfig,
    console: Console,
    part_name: str,
    kind: str,
    *,
    as_json: bool = False,
) -> None:
    """Print the accuracy of a probe on the features of a network, learned on the train part of the data set.

    Raises:
        InputError: the network ranks items, or has no classes.
    """
    refuse_without_classes(recipe, f"--by={kind}")
    if recipe.kind == "interaction":
        raise InputError(f"--by={kind} is for classes, but --model={recipe.model} ranks items for users; leave it out")
    data, part = load_data_like(recipe, config), load_part_like(recipe, config, part_name)
    accuracy = probe_accuracy(network.to(find_device(config.device)), kind, data.train, part.loader)
    if as_json:
        facts = {"model": recipe.model, "layer": recipe.layer, "epoch": recipe.epoch, "dataset": config.dataset}
        print_json(console, facts | {"part": part.name, "probe": kind, "top1": accuracy})
        return
    what = {"knn": "nearest neighbours of its features", "linear": "logistic regression on its features"}[kind]
    count = counted(part.loader.num_samples, part.counted)
    print_line(
        console,
        f"{recipe.model} of {recipe.layer}, epoch {recipe.epoch}, on {count} of {config.dataset}: {what}, top-1"
        f" {accuracy:.2%}",
    )


def set_sampling_rate(network: Network, recipe: Recipe, config: TrainConfig) -> None:
    """Tell the generated kernels of a network at which rate sequences are sampled, in units of that of training."""
    if recipe.kind != "sequence" or config.dataset != recipe.dataset:
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


def load_part_like(recipe: Recipe, config: TrainConfig, part_name: str) -> LabelledPart:
    """Load a part of the data set that the flags select, at the image size of the checkpoint.

    Raises:
        InputError: its classes or channels differ from those of the checkpoint.
    """
    part = open_part(config, part_name, resize=_side(recipe), augment=False, device=find_device(config.device))
    check_like(recipe, config, part.classes, part.input_shape, part.kind, part.names)
    return part


def load_data_like(recipe: Recipe, config: TrainConfig) -> LabelledData:
    """Load the data set that the flags select, at the image size of the checkpoint.

    Raises:
        InputError: its classes or channels differ from those of the checkpoint.
    """
    data = open_data(config, resize=_side(recipe), augment=False, device=find_device(config.device))
    check_like(recipe, config, data.classes, data.input_shape, data.kind, data.names)
    return data


def check_like(
    recipe: Recipe,
    config: TrainConfig,
    classes: tuple[str, ...],
    input_shape: tuple[int, ...],
    kind: str,
    names: tuple[str, ...] = (),
) -> None:
    """Refuse images on which the checkpoint cannot be evaluated; sequences may have another length.

    Raises:
        InputError: classes, kind, shape or names differ from those of the checkpoint; the message says how.
    """
    where = f"--dataset={config.dataset} in --data_path={config.data_path}"
    check_classes(recipe, classes, where)
    compared = slice(1) if kind == "sequence" else slice(None)
    if kind != recipe.kind or input_shape[compared] != recipe.input_shape[compared]:
        raise InputError(
            f"{where} has {kind}s of shape {input_shape}, but the checkpoint was trained on {recipe.dataset} with"
            f" {recipe.kind}s of shape {recipe.input_shape}"
        )
    check_names(recipe, names, where)


def _side(recipe: Recipe) -> int | None:
    """Return the side to which images are resized, of images or of those that become sequences."""
    if recipe.kind not in ("image", "pair"):
        return typing.cast("int | None", recipe.data_settings.get("resize"))
    _, height, width = recipe.input_shape
    return height if height == width else None


def refuse_without_classes(recipe: Recipe, what: str) -> None:
    """Refuse a network with a loss of its own in what is for classes.

    Raises:
        InputError: the network has no classes; the message names what can be done with it.
    """
    if not recipe.classes:
        raise InputError(
            f"{what} is for networks of classes, but the checkpoint is of {recipe.model}, which has a loss of its own"
            " and no classes; convnn evaluate measures it, and convnn.load opens it in Python"
        )


def refuse_masks(recipe: Recipe, checkpoint: str, command: str) -> None:
    """Refuse the checkpoint of a network that gives every pixel a class, in a command for one class of an image.

    Raises:
        InputError: the network does so; the message names what can be done with it.
    """
    if recipe.dataset in SEGMENTATION_SETS:
        raise InputError(
            f"checkpoint '{checkpoint}' gives every pixel a class, and {command} is for one class of an image; convnn"
            " segment evaluate measures it, and convnn segment predict draws what it finds"
        )


def refuse_all_but_images(recipe: Recipe, checkpoint: str, command: str) -> None:
    """Refuse the checkpoint of a network on sequences or graphs, or without classes, in a command for images.

    Raises:
        InputError: the network reads something else; the message names what can be done with it.
    """
    refuse_without_classes(recipe, f"convnn {command}")
    if recipe.kind != "image":
        raise InputError(
            f"checkpoint '{checkpoint}' reads {recipe.kind}s of shape {recipe.input_shape}, and convnn {command} is for"
            " images; convnn evaluate measures it, and convnn.load opens it in Python"
        )
