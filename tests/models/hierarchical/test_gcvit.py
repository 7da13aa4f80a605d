"""GC ViT: timm's network, other layers, sizes of images, initial weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.models.gcvit import GlobalContextVit
from torch import nn

from convnn.errors import InputError
from convnn.models import GCViT, GCViTSizes, create_model, load_published
from convnn.nn import ConvNNAttention, WindowAttention, layer_factory

TINY = GCViTSizes((1, 2, 3, 2), 32, (1, 2, 2, 4), 1.5)
WINDOWS = (4, 4, 4, 2)


def _tiny(
    layer: str = "GlobalContext", settings: dict | None = None, sizes: GCViTSizes = TINY, **of_network: object
) -> GCViT:
    of_layer = {"attention_dropout": 0.0, **(settings or {})}
    return GCViT(sizes, layer_factory(layer, **of_layer), num_classes=5, drop_path=0.0, **of_network)


@pytest.fixture(scope="module")
def timms() -> nn.Module:
    torch.manual_seed(0)
    return GlobalContextVit(
        num_classes=5,
        img_size=64,
        window_size=WINDOWS,
        embed_dim=32,
        depths=TINY.depths,
        num_heads=TINY.heads,
        mlp_ratio=1.5,
        layer_scale=0.5,
        weight_init="vit",
    ).double()


def test_outputs_and_gradients_are_timms(timms: nn.Module, tmp_path: Path) -> None:
    torch.save(timms.state_dict(), tmp_path / "timm.pth")
    ours = _tiny(sizes=replace(TINY, windows=WINDOWS), image_size=64, layer_scale=1.0).double()
    load_published(ours, tmp_path / "timm.pth")
    x, y = (torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for _ in "ab")
    x.requires_grad_(), y.requires_grad_()
    out, theirs = ours(x), timms(y)
    torch.testing.assert_close(out, theirs, rtol=0, atol=1e-13)
    out.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-12)
    grads = {name: p.grad for name, p in timms.named_parameters() if p.grad is not None}
    named = ours.arranged({ours.our_name(name): grad for name, grad in grads.items()})
    read = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}
    assert read.keys() == named.keys()
    for name, grad in read.items():
        torch.testing.assert_close(grad, named[name].view_as(grad), rtol=0, atol=1e-12, msg=name)


def test_a_checkpoint_of_another_size_is_refused(timms: nn.Module, tmp_path: Path) -> None:
    torch.save(timms.state_dict(), tmp_path / "timm.pth")
    with pytest.raises(InputError, match=r"has no tensor for stages.0.queries.convolutions.2"):
        load_published(_tiny(image_size=128, layer_scale=1.0), tmp_path / "timm.pth")
    with pytest.raises(InputError, match="build it from layer='GlobalContext' to load"):
        load_published(_tiny("Attention"), tmp_path / "timm.pth")


def test_windows_and_queries_follow_the_size_of_images() -> None:
    def windows(image_size: int) -> list[tuple[int, int, int]]:
        network = _tiny(image_size=image_size)
        return [(s.blocks[0].mixing.inner.mixer.side, s.queries.poolings) for s in network.stages]

    assert windows(224) == [(7, 3), (7, 2), (14, 0), (7, 0)]
    assert windows(64) == [(4, 2), (4, 1), (4, 0), (4, 0)]
    assert windows(32) == [(4, 1), (4, 0), (4, 0), (4, 0)]


def test_scopes_alternate() -> None:
    scopes = [[block.mixing.inner.mixer.scope for block in stage.blocks] for stage in _tiny().stages]
    assert scopes == [["local"], ["local", "global"], ["local", "global", "local"], ["local", "global"]]


def test_a_training_step_changes_every_parameter_that_is_read() -> None:
    torch.manual_seed(0)
    model = _tiny(image_size=32)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 33, 40)), torch.tensor([0, 1, 2, 3]))
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    of_one_block = {name for name in before if name.startswith("stages.0.queries")}  # which is local
    assert same == of_one_block


@pytest.mark.parametrize(("height", "width"), [(1, 2), (9, 31), (33, 47), (64, 64)])
def test_images_of_any_size(height: int, width: int) -> None:
    model = _tiny(image_size=64).eval()
    x = torch.randn(1, 3, height, width)
    sides = tuple(-(-n // 4) for n in (height, width))
    for one in model.forward_stages(x):
        assert one.shape[2:] == sides
        sides = tuple(-(-n // 2) for n in sides)
    assert model(x).shape == (1, 5)


def test_other_layers_read_the_map_as_a_sequence() -> None:
    model = _tiny("ConvNNAttention", {"K": 3})
    layers = [module for module in model.modules() if isinstance(module, ConvNNAttention)]
    assert [layer.num_heads for layer in layers] == [1, 2, 2, 2, 2, 2, 4, 4]
    assert not [module for module in model.modules() if isinstance(module, WindowAttention)]
    assert not model.is_published
    logits = model(torch.randn(2, 3, 64, 96))
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_initial_weights_are_as_published() -> None:
    torch.manual_seed(0)
    block = _tiny(layer_scale=1e-5).stages[1].blocks[1]
    mixer, mlp = block.mixing.inner.mixer, block.feed_forward.inner.mlp
    for weights in (mixer.qkv.weight, mixer.output.weight, mlp.fc1.weight, mlp.fc2.weight):
        assert weights.detach().std() == pytest.approx(0.02, rel=0.1)
    assert not mlp.fc1.bias.any()
    assert not mixer.qkv.bias.any()
    assert torch.equal(block.mixing.scale, torch.full((64, 1, 1), 1e-5))
    assert _tiny().stages[1].blocks[1].mixing.scale is None


@pytest.mark.parametrize(("name", "drop_path"), [("gcvit_tiny", 0.2), ("gcvit_small", 0.3), ("gcvit_base", 0.5)])
def test_the_last_block_has_the_published_rate(name: str, drop_path: float) -> None:
    with torch.device("meta"):
        rates = [part.drop.p for part in create_model(name).modules() if hasattr(part, "drop")]
    assert rates[0] == 0
    assert rates[-1] == drop_path


def test_heads_that_do_not_divide_scaled_channels_become_fewer() -> None:
    with torch.device("meta"):
        model = create_model("gcvit_xxtiny", width=0.1)
    assert [stage.blocks[0].mixing.inner.mixer.num_heads for stage in model.stages] == [2, 1, 2, 3]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="image_size=0 must be an integer of at least 1"):
        create_model("gcvit_xxtiny", image_size=0)
    with pytest.raises(InputError, match=r"drop_path=1.5 must lie between 0 and 1"):
        create_model("gcvit_xxtiny", drop_path=1.5)
    with pytest.raises(
        InputError, match="layer='ConvNN' reads maps; model='gcvit_xxtiny' is built of layers that read"
    ):
        create_model("gcvit_xxtiny", "ConvNN")
