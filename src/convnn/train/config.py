"""The configuration of a run: the published flags with their names and defaults, and further flags."""

import os
from dataclasses import dataclass, fields
from typing import Any

from convnn.data import PIXEL_VALUES, READERS, REGRESSIONS, SEGMENTATION_SETS
from convnn.data.options import RESIZED
from convnn.errors import InputError, check_choice
from convnn.files import expand_home
from convnn.models import (
    check_layer,
    check_model,
    data_of,
    default_layer,
    defaults_on,
    is_external,
    layer_defaults,
    list_models,
    model_settings,
    own_loss_of,
    reads_of,
    task_of,
)
from convnn.models.external import replacement_settings
from convnn.nn import LAYERS
from convnn.nn._extensions import import_names
from convnn.train.exclusions import check_exclusions
from convnn.train.flags import check_number, choices_of
from convnn.train.flags.data import DataFlags
from convnn.train.flags.distillation import DistillationFlags, is_read
from convnn.train.flags.graphs import GraphLayerFlags
from convnn.train.flags.layers import LayerFlags
from convnn.train.flags.network import NetworkFlags
from convnn.train.flags.objectives import ObjectiveFlags
from convnn.train.flags.optimisation import OptimisationFlags
from convnn.train.flags.run import RunFlags
from convnn.train.flags.training import TrainingFlags
from convnn.train.timer import parse_interval

PUBLISHED_NAMES = {"magnitude_type": "metric", "keep": "keep_tokens"}
"""Published names of flags that have another name here; both are accepted, on the command line and in files."""

ANY_OTHER = "torchvision:"
"""A name that stands for all networks of other libraries."""

_OF_TOKENS = {
    "metric": "matmul",
    "kernel_size": 9,
    "resize": 224,
    "lr": 5e-4,
    "weight_decay": 5e-2,
    "scheduler": "cosine",
}
"""Defaults of the published ViT that differ from those of the convolutional networks."""

_OF_GRAPHS = {
    "dataset": "sbm",
    "optimizer": "adam",
    "lr": 0.01,
    "weight_decay": 5e-4,
    "num_epochs": 200,
    "clip_grad_norm": 0.0,
    "batch_size": 32,
}
"""Defaults of the networks on graphs: how GCN was trained (Kipf and Welling, arXiv 1609.02907)."""

_OF_INTERACTIONS = {
    "dataset": "hidden_groups",
    "objective": "bpr",
    "optimizer": "adam",
    "lr": 0.005,
    "weight_decay": 0.0,
    "num_epochs": 40,
    "clip_grad_norm": 0.0,
    "batch_size": 1024,
}
"""Defaults of recommenders; LightGCN (arXiv 2002.02126) was trained for longer, in smaller steps."""

_OF_TRIPLES = {
    "dataset": "paraphrases",
    "optimizer": "adam",
    "lr": 0.01,
    "weight_decay": 0.0,
    "num_epochs": 100,
    "clip_grad_norm": 0.0,
    "batch_size": 256,
}
_OF_MIXTURES = {"dataset": "mixture_digits", "optimizer": "adamw", "lr": 5e-3, "batch_size": 20, "num_epochs": 20}
_OF_PANORAMAS = {
    "dataset": "grounds",
    "optimizer": "adam",
    "lr": 5e-3,
    "weight_decay": 0.0,
    "num_epochs": 4,
    "clip_grad_norm": 0.0,
    "batch_size": 4,
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "tokens": _OF_TOKENS,
    "masked images": {"dataset": "shapes", "batch_size": 16},
    "sequences": {"dataset": "sequential_cifar10"},
    "volumes": {"dataset": "airways", "batch_size": 4},
    "panoramas": _OF_PANORAMAS,
    "graphs": _OF_GRAPHS,
    "interactions": _OF_INTERACTIONS,
    "triples": _OF_TRIPLES,
    "mixtures": _OF_MIXTURES,
}
"""Defaults by what a network reads, where they differ from those of the networks on maps."""

PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    ("graphs", "SGC"): {"num_layers": 1, "dropout": 0.0, "lr": 0.2, "weight_decay": 5e-6, "num_epochs": 100},
    ("interactions", "UltraGCN"): {"objective": "ultra", "batch_size": 128, "num_epochs": 20},
    ("interactions", "LCFN"): {"embedding_decay": 0.01, "lr": 0.01},
}
"""Defaults by what a network reads and its layer, of layers that were trained in another way."""

REGRESSION_DEFAULTS = {"criterion": "MSE"}
"""Defaults of the data sets whose labels are numbers."""

SEGMENTATION_DEFAULTS = {"fit": "stretch"}
"""Defaults of the data sets with a class for every pixel: none is left out."""

PUBLISHED_FOLDERS = {("vgg11", "ConvNN"): "./Output/VGG/ConvNN", ("vit", "Attention"): "./Output/VIT/VIT_Attention"}
"""Default output folders by network and layer; all others are named after both."""


OF_THE_MACHINE = "backend"
"""What layers read, but no run depends on."""


def layer_settings() -> list[str]:
    """Return the flags that at least one layer reads, in the order of the flags: the settings in layer signatures."""
    read = {name for entry in LAYERS.values() for name in entry.settings} - {OF_THE_MACHINE}
    return [f.name for f in fields(TrainConfig) if f.name in read]


def network_settings() -> list[str]:
    """Return the flags that at least one network reads, but no layer."""
    read = {name for model in (*list_models(), ANY_OTHER) for name in model_settings(model)}
    of_layers = set(layer_settings())
    return [f.name for f in fields(TrainConfig) if f.name in read and f.name not in of_layers]


def defaults_of(model: str, layer: str | None = None) -> dict[str, Any]:
    """Return the defaults that depend on the network and layer; None is the network's default layer.

    Those of the layer come before those by what the network reads, except where the layer was trained in another way.
    """
    layer = layer or default_layer(model)
    flags = {f.name for f in fields(TrainConfig)}
    read = layer_defaults(model, layer) | model_settings(model)
    of_settings = {name: value for name, value in read.items() if name in flags}
    own, reads = own_loss_of(model), _reads(model)
    before = DEFAULTS.get(reads, {}) if own is None else {}
    after = PUBLISHED.get((reads, layer), {}) if own is None else dict(own.defaults)
    folder = PUBLISHED_FOLDERS.get((model, layer), f"./Output/{model.replace(':', '_')}/{layer}")
    return before | of_settings | after | {"layer": layer, "output_dir": folder}


def _reads(model: str) -> str:
    """Return what a network reads, by which its defaults are found."""
    data = data_of(model)
    if data == "images" and task_of(model) == "segmentation":
        return "masked images"
    return reads_of(model) if data == "images" else data


def models_images(model: str) -> bool:
    """Return whether a network has images without labels, whose pixels are whole numbers."""
    own = own_loss_of(model)
    return own is not None and own.data == "images"


@dataclass(frozen=True, init=False)
class TrainConfig(
    RunFlags,
    OptimisationFlags,
    ObjectiveFlags,
    DistillationFlags,
    TrainingFlags,
    DataFlags,
    GraphLayerFlags,
    LayerFlags,
    NetworkFlags,
):  # fields begin with those of the last
    """The flags of `convnn train`; the help of each field describes it.

    A flag that is not given has the default of the data set, of the network and its layer, `defaults_of(model, layer)`,
    or else that of its field.

    Raises:
        InputError: a value is unknown or out of range; the message names the flag.
        TypeError: a flag does not exist.
    """

    def __init__(self, **given: Any) -> None:
        values = {f.name: f.default for f in fields(self)}
        model = given.get("model", values["model"])
        check_model(model, prefix="--")
        layer = given.get("layer", default_layer(model))
        check_layer(model, layer, prefix="--")
        for name in given.keys() - values.keys():
            raise TypeError(f"TrainConfig has no flag {name!r}")
        values |= defaults_of(model, layer)
        dataset = given.get("dataset", values["dataset"])
        if dataset in REGRESSIONS and own_loss_of(model) is None:
            values |= REGRESSION_DEFAULTS
        if models_images(model):
            values["values"] = PIXEL_VALUES.get(dataset, 256)
        if dataset in SEGMENTATION_SETS:
            values |= SEGMENTATION_DEFAULTS
        values |= defaults_on(model, dataset)
        for name, value in (values | given).items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if choices := choices_of(f):
                check_choice(f"--{f.name}", value, choices)
            check_number(f, value)
            if f.metadata["is_path"] and value is not None:
                object.__setattr__(self, f.name, expand_home(value, f"--{f.name}"))
        check_exclusions(self)
        parse_interval(self.checkpoint_every)
        try:
            os.fsencode(self.output_dir).decode()
        except UnicodeError:  # safetensors could write such a file, but not read it
            raise InputError(f"--output_dir={self.output_dir!r} must be valid UTF-8; choose another name") from None
        object.__setattr__(self, "imports", ",".join(import_names(self.imports)) or None)

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that describe the network and its layer, by name."""
        return {name: getattr(self, name) for name in (*network_settings(), *layer_settings())}

    @property
    def data_settings(self) -> dict[str, Any]:
        """The flags by which a data set of sequences, graphs or images without labels is made, by name."""
        names = [name for name, readers in READERS.items() if self.dataset in readers]
        names = [name for name in names if name != "values" or self.values is not None]
        return {name: getattr(self, name) for name in [*names, *(["resize"] if self.dataset in RESIZED else [])]}

    def reads(self, name: str) -> bool:
        """Return whether a flag affects this run."""
        return name not in self.unread()

    def unread(self) -> set[str]:
        """Return the flags that do not affect this run: the settings of other networks, layers and losses."""
        is_replaced = is_external(self.model)
        of_layer = replacement_settings(self.layer) if is_replaced else layer_defaults(self.model, self.layer).keys()
        of_others = self.settings.keys() - of_layer - model_settings(self.model).keys()
        of_data = set() if models_images(self.model) else {"values"}
        of_teachers = {name for name in DistillationFlags.__dataclass_fields__ if not is_read(name, self)}
        return of_others | of_data | of_teachers
