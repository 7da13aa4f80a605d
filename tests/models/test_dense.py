"""What networks from images to maps share: published names, blocks, norms."""

import pytest
import torch
from torch import nn

from convnn.models import flow, segmentation
from convnn.models._dense import ResidualBlock, conv_norm
from convnn.models._parts import ChannelNorm
from convnn.nn import layer_factory

NETWORKS = {"mkunet_t": segmentation.mkunet_t, "bevanet_s": segmentation.bevanet_s, "skflow": flow.skflow}

SOME_PUBLISHED = {
    "mkunet_t": [
        "encoder3.0.pconv1.0.weight",
        "decoder5.0.multi_scale_dwconv.dwconvs.2.1.running_var",
        "decoder1.0.conv1x1.weight",
        "AG4.W_x.1.bias",
        "AG1.psi.0.weight",
        "CA5.fc2.weight",
        "SA.conv.weight",
        "out3.bias",
        "out4.weight",
    ],
    "bevanet_s": [
        "model.conv1.4.running_mean",
        "model.layer2.0.downsample.1.weight",
        "model.layer3_detail.1.conv2.weight",
        "model.layer4_semantic_2.attn.spatial_gating_unit.FS_kernel.fc_expand_big_v.1.dwconv.weight",
        "model.layer4_detail.mlp.dwconv.dwconv.bias",
        "layer5_down_semantic_seg.0.bn2.weight",
        "layer5_semantic_1_seg.layer_scale_1",
        "norm5_semantic_2_seg.weight",
        "layer5_detail_boundary.0.conv3.weight",
        "spp.lska.spatial_gating_unit.DW_D_conv_v.dwconv.weight",
        "spp.scale5.3.pwconv.weight",
        "dfm.conv_i.2.weight",
        "seghead_db.conv2.bias",
    ],
    "skflow": [
        "module.fnet.conv2.weight",
        "module.cnet.norm1.running_var",
        "cnet.layer3.0.norm3.weight",
        "cnet.layer3.0.downsample.1.weight",
        "module.update_block.encoder.convc2.conv_list.1.weight",
        "module.update_block.encoder.convf1.bias",
        "update_block.gru.pw.weight",
        "update_block.aggregator.gamma",
        "update_block.mask.2.weight",
        "module.att.pos_emb.rel_width.weight",
    ],
}
"""Names of every kind of part, some with the prefix of the published files."""


@pytest.mark.parametrize("name", SOME_PUBLISHED)
def test_published_names_have_a_place(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    places = network.state_dict()
    assert [one for one in SOME_PUBLISHED[name] if network.our_name(one) not in places] == []


def test_an_alias_has_the_same_place_and_what_follows_from_the_size_has_none() -> None:
    network = flow.SKFlow
    assert network.our_name("cnet.layer2.0.norm3.bias") == network.our_name("cnet.layer2.0.downsample.1.bias")
    table, weight = torch.zeros(160, 160), torch.zeros(1)
    named = {network.our_name(f"module.{one}"): t for one, t in (("att.pos_emb.rel_ind", table), ("x", weight))}
    assert network.arranged(flow.SKFlow, named) == {"x": weight}


def test_a_network_knows_whether_it_is_the_published_one() -> None:
    with torch.device("meta"):
        assert segmentation.mkunet_t().is_published
        assert not segmentation.mkunet_t(layer="ConvNN").is_published
        assert not segmentation.mkunet_t(layer=layer_factory("ConvNN", K=3)).is_published


def test_channels_are_normalised_at_every_position() -> None:
    norm, x = ChannelNorm(6), torch.randn(2, 6, 3, 4)
    y = norm(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4))
    torch.testing.assert_close(y[1, :, 2, 3], nn.functional.layer_norm(x[1, :, 2, 3], (6,)))


def test_a_residual_block_adds_its_input() -> None:
    x = torch.randn(2, 3, 4, 4)
    nothing = nn.Conv2d(3, 3, 1)
    nn.init.zeros_(nothing.weight)
    nn.init.zeros_(nothing.bias)
    torch.testing.assert_close(ResidualBlock(nothing, nn.Identity())(x), x.relu())
    torch.testing.assert_close(ResidualBlock(nothing, nn.Identity(), activation=False)(x), x)


@pytest.mark.parametrize(("side", "stride", "expected"), [(3, 1, 7), (3, 2, 4), (7, 2, 4), (1, 1, 7)])
def test_a_convolution_keeps_the_size_or_divides_it_by_the_stride(side: int, stride: int, expected: int) -> None:
    out = nn.Sequential(*conv_norm(2, 3, side, stride=stride))(torch.randn(2, 2, 7, 7))
    assert out.shape == (2, 3, expected, expected)
