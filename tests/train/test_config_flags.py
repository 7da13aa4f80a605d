from dataclasses import replace

import pytest

from convnn.errors import InputError
from convnn.models import default_layer, list_models, model_settings
from convnn.nn import LAYERS
from convnn.nn.registry import entry_for
from convnn.train import TrainConfig
from convnn.train.config import layer_settings, network_settings

PUBLISHED_DEFAULTS = {
    "model": "vgg11",
    "layer": "ConvNN",
    "kernel_size": 3,
    "padding": 1,
    "K": 9,
    "sampling_type": "all",
    "num_samples": -1,
    "sample_padding": 0,
    "metric": "cosine",
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


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"model": "vit"}, "./Output/VIT/VIT_Attention"),
        ({"layer": "Conv2d"}, "./Output/vgg11/Conv2d"),
        ({"model": "vit", "layer": "KvtAttention"}, "./Output/vit/KvtAttention"),
        ({"model": "torchvision:resnet18"}, "./Output/torchvision_resnet18/ConvNN"),
    ],
)
def test_the_folder_follows_network_and_layer_and_is_the_published_one_of_the_published(
    given: dict[str, str], folder: str
) -> None:
    assert TrainConfig(**given).output_dir == folder


@pytest.mark.parametrize(
    ("given", "read", "unread"),
    [
        ({"layer": "Conv2d"}, "kernel_size", "K"),
        ({"model": "vit"}, "num_heads", "padding"),
        ({"model": "torchvision:resnet18", "layer": "ConvNN_Pos"}, "reach", "kernel_size"),
        ({"model": "torchvision:resnet18", "layer": "Conv2d"}, "where", "sampling_type"),
        ({"layer": "GraphConvNN"}, "lambda_param", "padding"),
        ({"model": "vit", "layer": "GraphConvNN"}, "K", "lambda_param"),
    ],
)
def test_what_a_run_reads(given: dict[str, str], read: str, unread: str) -> None:
    config = TrainConfig(**given)
    assert config.reads(read)
    assert config.reads("lr")
    assert not config.reads(unread)


def test_settings_are_all_that_layers_and_networks_read() -> None:
    of_layers = {
        name for entry in LAYERS.values() for name in entry.settings if entry.reads not in ("graphs", "interactions")
    }
    of_graphs = {name for entry in LAYERS.values() for name in entry.settings} - of_layers  # some of them have a flag
    of_networks = {name for model in [*list_models(), "torchvision:resnet18"] for name in model_settings(model)}
    # The backend belongs to the machine; the others are no published flags.
    without_flag = {"backend", "growth", "window_size", "head_width", "size"}
    without_flag |= {"block", "keep", "order", "pool", "qk_norm", "rotary", "value_projection", "output_projection"}
    without_flag |= {"depthwise", "causal"}
    without_flag |= {"spectra", "squeeze", "gate", "temperature", "share_temperature", "gain", "local_gate", "divisors"}
    without_flag |= {"band_groups", "band_gate", "band_kernel_size", "weigh_lowest", "in_frequency", "plain_up_to"}
    without_flag |= {"norm", "prenorm", "final_norm", "heads", "gated", "on_last", "layer_bias"}
    without_flag |= {"shift", "gamma", "key_norm", "init", "place", "class_tokens"}
    without_flag |= {"hidden_rate", "image_size", "post_norm", "init_values", "drop_path"}
    without_flag |= {"mlp_ratio", "auxiliary", "depths", "semantic_kernels", "detail_kernel"}
    without_flag |= {"context_planes", "head_planes", "num_categories", "num_predicates", "dims", "cameras"}
    flags = {*layer_settings(), *network_settings()}
    assert (of_layers | of_networks) - of_graphs == (flags | without_flag) - of_graphs


def test_defaults_of_layers_are_those_of_the_flags() -> None:
    models = {"maps": "vgg11", "tokens": "vit", "interactions": "recommender", "triples": "transe", "mixtures": "gmcn"}
    of_images = ("maps", "tokens")
    for layer, entry in LAYERS.items():
        for on in [entry.reads] if entry.reads in models else of_images:
            config = TrainConfig(model=models[on], layer=layer)
            for name, default in entry_for(layer, on).settings.items():
                if hasattr(config, name) and name not in model_settings(models[on]):
                    assert getattr(config, name) == default, name
                    assert config.reads(name)


@pytest.mark.parametrize("model", list_models())
def test_defaults_of_networks_are_those_of_the_flags(model: str) -> None:
    config = TrainConfig(model=model)
    for name, default in model_settings(model).items():
        if name in network_settings():
            assert getattr(config, name) == default
    assert config.layer == default_layer(model)


@pytest.mark.parametrize("model", list_models("vit*"))
def test_vit_has_its_published_defaults(model: str) -> None:
    config = TrainConfig(model=model)
    published = {
        "layer": "Attention",
        "patch_size": 16,
        "num_layers": 12,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "convolution_type": "depthwise",
        "softmax_topk_val": True,
        "coordinate_encoding": False,
        "metric": "matmul",
        "kernel_size": 9,
        "resize": 224,
        "lr": 5e-4,
        "weight_decay": 5e-2,
        "scheduler": "cosine",
    }
    assert {name: getattr(config, name) for name in published} == published


def test_what_is_given_goes_before_the_defaults_of_the_network() -> None:
    config = TrainConfig(model="vit_small", lr=1e-3, resize=None, scheduler="none", num_heads=2, d_hidden=192)
    assert (config.lr, config.resize, config.scheduler, config.num_heads) == (1e-3, None, "none", 2)
    assert (config.d_hidden, config.d_mlp, config.weight_decay) == (192, 1536, 5e-2)
    assert replace(config, K=5) == TrainConfig(**(vars(config) | {"K": 5}))


def test_an_unknown_flag_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="TrainConfig has no flag 'learning_rate'"):
        TrainConfig(learning_rate=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "vgg12"}, "--model='vgg12' is not one of .*did you mean 'vgg1"),
        ({"layer": "Convnn"}, "--layer='Convnn' is not one of .*did you mean 'ConvNN'"),
        ({"model": "vit", "layer": "ConvNN"}, "--layer='ConvNN' reads maps; --model='vit' is built of .*: Attention,"),
        ({"layer": "KvtAttention"}, "--layer='KvtAttention' reads tokens; --model='vgg11' is built of .*: Conv2d,"),
        (
            {"convolution_type": "depth"},
            "--convolution_type='depth' is not one of .*did you mean 'depthwise'",
        ),
        ({"sparse_mode": "stride"}, "--sparse_mode='stride' is not one of .*did you mean 'strided'"),
        ({"sparse_context_window": 0}, "--sparse_context_window=0 must be an integer of at least 1"),
        ({"attention_dilation": 0}, "--attention_dilation=0 must be an integer of at least 1"),
        ({"relative_side": -1}, "--relative_side=-1 must be an integer of at least 0"),
        ({"qk_scale": 0.0}, "--qk_scale=0.0 must be positive"),
        ({"graph_conv": "edge"}, "--graph_conv='edge'"),
        ({"edge_activation": "tanh"}, "--edge_activation='tanh'"),
        ({"degree_type": "sum"}, "--degree_type='sum'"),
        ({"keeping": "hard"}, "--keeping='hard'"),
        ({"patch_size": 0}, "--patch_size=0 must be an integer of at least 1"),
        ({"dropout": 2.0}, "--dropout=2.0 must lie between 0 and 1"),
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


def test_shared_kernels_cannot_be_sharded() -> None:
    assert TrainConfig(share_kernels="stage").settings["share_kernels"] == "stage"
    with pytest.raises(InputError, match=r"^--fsdp divides .* --share_kernels=model gives one to several; give one of"):
        TrainConfig(share_kernels="model", fsdp=True)


def test_tokens_leave_vision_transformers_alone() -> None:
    assert TrainConfig(model="vit", reduce_tokens="gtp").settings["reduce_tokens"] == "gtp"
    with pytest.raises(
        InputError, match=r"^--reduce_tokens=gtp is for vision transformers.* not for --model=resnet18$"
    ):
        TrainConfig(model="resnet18", reduce_tokens="gtp")
