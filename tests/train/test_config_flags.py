import pytest

from convnn.errors import InputError
from convnn.nn import LAYERS
from convnn.train import TrainConfig
from convnn.train.config import LAYER_SETTINGS

PUBLISHED_DEFAULTS = {
    "model": "vgg11",
    "layer": "ConvNN",
    "kernel_size": 3,
    "padding": 1,
    "K": 9,
    "sampling_type": "all",
    "num_samples": -1,
    "sample_padding": 0,
    "magnitude_type": "cosine",
    "similarity_type": "Col",
    "aggregation_type": "Col",
    "lambda_param": 0.5,
    "shuffle_pattern": "NA",
    "shuffle_scale": 0,
    "branch_ratio": 0.5,
    "attention_dropout": 0.1,
    "dataset": "cifar10",
    "data_path": "./Data",
    "resize": None,
    "augment": False,
    "noise": 0.0,
    "batch_size": 256,
    "num_epochs": 150,
    "use_amp": False,
    "use_compiled": False,
    "compile_mode": "default",
    "clip_grad_norm": 1.0,
    "criterion": "CrossEntropy",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-6,
    "momentum": 0.9,
    "scheduler": "none",
    "lr_step": 20,
    "lr_gamma": 0.1,
    "seed": 0,
    "output_dir": "./Output/VGG/ConvNN",
    "test_only": False,
}


def test_defaults_are_the_published_ones() -> None:
    config = TrainConfig()
    assert {name: getattr(config, name) for name in PUBLISHED_DEFAULTS} == PUBLISHED_DEFAULTS
    assert config.device == "auto"


def test_layer_settings_are_all_that_layers_read() -> None:
    read = {name for entry in LAYERS.values() for name in entry.settings}
    assert read == {*LAYER_SETTINGS, "backend"}  # which belongs to the machine, not to the network


def test_layer_defaults_are_the_flags_defaults() -> None:
    config = TrainConfig()
    for entry in LAYERS.values():
        for name, default in entry.settings.items():
            assert getattr(config, name) == default, name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "vgg12"}, "--model='vgg12' is not one of .*did you mean 'vgg1"),
        ({"layer": "Convnn"}, "--layer='Convnn' is not one of .*did you mean 'ConvNN'"),
        ({"K": 0}, "--K=0 must be an integer of at least 1"),
        ({"padding": -1}, "--padding=-1 must be an integer of at least 0"),
        ({"branch_ratio": 1.5}, "--branch_ratio=1.5 must lie between 0 and 1"),
        ({"lambda_param": -0.1}, "--lambda_param=-0.1 must lie between 0 and 1"),
        ({"lr": 0.0}, "--lr=0.0 must be positive"),
        ({"lr": float("nan")}, "--lr=nan must be positive"),
        ({"noise": -1.0}, "--noise=-1.0 must not be negative"),
        ({"scheduler": "cosin"}, "--scheduler='cosin' is not one of .*did you mean 'cosine'"),
        ({"compile_mode": "fast"}, "--compile_mode='fast' is not one of"),
    ],
)
def test_values_out_of_range_name_their_flag(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)
