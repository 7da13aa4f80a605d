"""The codec: its losses by hand, causal streams, all priors and codings train, sizes as published."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.clips import moving_clips
from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.coding import DCVC, SpyNet, VideoCodec, calibrate
from convnn.models.coding.latents import HyperLatent
from convnn.nn.compression import LaplaceBits
from convnn.ops.warping import flow_warp


def frames(number: int = 2, *, seed: int = 0) -> Tensor:
    """Return smooth frames (number, 3, 64, 64) that move a little."""
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(coarse, (80, 80), mode="bicubic", align_corners=True).clamp(0, 1)
    return torch.cat([large[..., t : t + 64, 2 * t : 2 * t + 64] for t in range(number)])


def small(**settings) -> DCVC:
    torch.manual_seed(0)
    return DCVC(4, 4, 4, 4, 4, **settings)


def test_the_published_size() -> None:
    assert sum(value.numel() for value in DCVC().parameters()) == 7_944_448  # 7.94 million are published


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_stages_are_their_sums_and_reach_their_parts(stage: int) -> None:
    codec = small()
    before, x = frames().split(1)
    coded = codec(x, before)
    bpp = {name: bits.sum() / 64**2 for name, bits in coded.bits.items()}
    assert coded.warped is not None
    assert coded.flow is not None
    torch.testing.assert_close(coded.warped, flow_warp(before, coded.flow))
    error = 100 * (((coded.warped if stage == 1 else coded.recon) - x) ** 2).mean()
    names = {1: ("mv_y", "mv_z"), 2: (), 3: ("y", "z"), 4: ("mv_y", "mv_z", "y", "z")}[stage]
    loss = codec.loss(coded, x, 100.0, stage)
    torch.testing.assert_close(loss, error + sum(bpp[name] for name in names))
    codec.set_stage(stage)
    codec.loss(codec(x, before), x, 100.0, stage).backward()
    motion = [value.grad for part in (codec.flow, codec.motion) for value in part.parameters()]
    assert any(grad is not None for grad in motion) == (stage in (1, 4))
    assert (codec.encoder[0].weight.grad is None) == (stage == 1)


@pytest.mark.parametrize(("coding", "prior"), [("intra", "ar"), ("residual", "dual"), ("conditional", "quad")])
def test_every_coding_trains(coding: str, prior: str) -> None:
    codec, (before, x) = small(coding=coding, prior=prior, sends_motion=False), frames().split(1)
    inputs = () if coding == "intra" else (before, torch.zeros(1, 2, 64, 64))
    optimizer, losses = torch.optim.Adam(codec.parameters(), 5e-3), []
    for _ in range(8):
        optimizer.zero_grad()
        loss = codec.loss(codec(x, *inputs), x, 256.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(value.grad is not None for value in codec.parameters())


def test_what_the_decoder_has_does_not_depend_on_the_frame_but_through_its_symbols() -> None:
    codec, (before, x) = small().eval(), frames().split(1)
    kept: list[Tensor] = []

    class Writer:
        def laplace(self, symbols, means, scales):
            assert bool((scales > 0).all())
            kept.append(symbols)
            return symbols

        def factorized(self, symbols, bits, size):
            assert tuple(symbols.shape[2:]) == size
            kept.append(symbols)
            return symbols

    class Reader:
        def laplace(self, symbols, means, scales):
            assert symbols is None
            return kept.pop(0)

        def factorized(self, symbols, bits, size):
            return kept.pop(0)

    written = codec.code(Writer(), (64, 64), x, before)
    torch.testing.assert_close(written, codec(x, before).recon)  # the estimate in evaluation is of the same frame
    assert torch.equal(codec.code(Reader(), (64, 64), None, before), written)
    assert not kept


def test_coder_and_estimate_have_one_scale() -> None:
    """The published "transform" form gives its coder the raw scale; here both take the same function."""
    torch.manual_seed(0)
    latent = HyperLatent(4, torch.nn.AvgPool2d(4), torch.nn.Upsample(scale_factor=4), 4, 4, scale="softplus").eval()
    y, seen = 3 * torch.randn(1, 4, 4, 4), []

    class Coder:
        def laplace(self, symbols, means, scales):
            seen.append(LaplaceBits("clamp")(symbols - means, scales))
            return symbols

        def factorized(self, symbols, bits, size):
            return symbols

    with torch.no_grad():
        latent.code(Coder(), (), (4, 4), y)
        torch.testing.assert_close(torch.cat(seen).sum(), latent(y).bits_y.sum())


def test_a_clip_is_coded_from_decoded_frames_only() -> None:
    torch.manual_seed(0)
    codec, clip = VideoCodec(4, 4, 4, 4, 4).eval(), frames(3).unsqueeze(0)
    coded = codec(clip)
    second = codec.inter(clip[:, 1], codec.intra(clip[:, 0]).recon.clamp(0, 1))
    assert torch.equal(coded[1].recon, second.recon)
    assert "mv_y" not in coded[0].bpp()
    assert "mv_y" in coded[2].bpp()
    codec.train()
    codec.loss(clip, 64.0, 4).backward()
    assert codec.intra.encoder[0].weight.grad is not None


@pytest.mark.parametrize("coding", ["conditional", "residual"])
def test_a_calibrated_codec_begins_with_latents_that_survive_and_the_mean_colour(coding: str) -> None:
    torch.manual_seed(0)
    codec = VideoCodec(4, 4, 4, 4, 4, coding=coding, prior="dual").eval()
    clips = torch.stack([frames(2), frames(2, seed=1)])
    assert codec(clips)[0].latents["y"].abs().max() < 0.5  # all are rounded to 0
    calibrate(codec, clips)
    intra = codec.intra(clips[:, 0])
    assert intra.latents["y"].std().item() == pytest.approx(3, rel=0.05)
    torch.testing.assert_close(intra.latents["y"].mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    assert (intra.recon.mean((0, 2, 3)) - clips[:, 0].mean((0, 2, 3))).abs().max() < 0.05
    inter = codec.inter(clips[:, 1], clips[:, 0])
    assert inter.latents["y"].std() > 1
    assert inter.flow is not None
    assert F.mse_loss(inter.recon, clips[:, 1]) < 5 * clips[:, 1].var()  # the flow is not yet that of the fit
    calibrate(codec, clips[:, :1])  # which has no motion
    with pytest.raises(InputError, match="with at least one frame"):
        calibrate(codec, clips[:0])


def test_in_training_a_reference_may_be_the_true_frame_and_both_predictions_count() -> None:
    torch.manual_seed(0)
    codec, clip = VideoCodec(4, 4, 4, 4, 4, prior="dual").eval(), frames(2).unsqueeze(0)
    _, coded = codec.frames(clip, true_share=1.0)
    reference, x = clip.unbind(1)
    assert torch.equal(coded.recon, codec.inter(x, reference).recon)
    assert coded.estimate is not None
    torch.testing.assert_close(coded.estimate, flow_warp(reference, codec.inter.flow(x, reference)))
    assert not torch.equal(codec(clip)[1].recon, coded.recon)
    network = create_model("dcvc", d_hidden=4, prior="dual")
    _, _, found = network._of_frame(coded, x, (64, 64))
    torch.testing.assert_close(found[0], F.mse_loss(coded.warped, x) + F.mse_loss(coded.estimate, x))


def test_the_first_stage_codes_the_motion_alone_and_does_not_count_its_bits() -> None:
    torch.manual_seed(0)
    network, clip = create_model("dcvc", d_hidden=4, prior="dual").train(), frames(2).unsqueeze(0)
    parts = {"motion": network.codec.inter.motion, "frames": network.codec.inter.encoder}
    learns = []
    for epoch in (1, 2):
        network.begin_epoch(epoch)
        network.zero_grad()
        network(clip).terms["rate"].backward()
        learns.append({name for name, part in parts.items() if next(part.parameters()).grad is not None})
    assert "frames" not in learns[0]
    assert learns[1] == {"motion", "frames"}
    network.begin_epoch(1)
    network.zero_grad()
    answer = network(clip)
    answer.terms["distortion"].backward()
    assert parts["motion"].encoder[0].weight.grad.abs().sum() > 0
    assert parts["frames"][0].weight.grad is None
    reference, x = clip.unbind(1)
    network.eval()
    moved = network.codec.inter.moved(x, reference)
    torch.testing.assert_close(moved.recon, flow_warp(reference, moved.flow))
    assert set(moved.bits) == {"mv_y", "mv_z"}
    torch.testing.assert_close(moved.flow, network.codec.inter(x, reference).flow)
    assert set(network(clip).figures) == set(network.figures)  # evaluation has all parts in every epoch


def test_the_motion_is_learned() -> None:
    torch.manual_seed(0)
    network = create_model("dcvc", d_hidden=8, prior="dual").train()
    clips = moving_clips(1, torch.Generator().manual_seed(0), frames=2, side=64, gain=0.0).frames
    reference, x = clips.unbind(1)
    network.prepare(clips)
    network.begin_epoch(1)
    codec = network.codec.inter
    optimizer = torch.optim.Adam([*codec.flow.parameters(), *codec.motion.parameters()], 4e-3)
    for _ in range(24):
        optimizer.zero_grad()
        moved = codec.moved(x, reference)
        (F.mse_loss(moved.warped, x) + F.mse_loss(moved.estimate, x)).backward()
        optimizer.step()
    moved, still = codec.eval().moved(x, reference), F.mse_loss(reference, x)
    assert F.mse_loss(moved.estimate, x) < 0.8 * still
    assert F.mse_loss(moved.warped, x) < 0.95 * still


def test_the_flow_of_a_pyramid_adds_corrections() -> None:
    network = SpyNet(8, 3)
    x, before = frames().split(1)
    for part in network.networks:
        torch.nn.init.zeros_(part[-1].weight)
        torch.nn.init.constant_(part[-1].bias, 1.0)
    assert torch.allclose(network(x, before), torch.full((1, 2, 64, 64), 7.0))  # 4 + 2 + 1


def test_the_network_of_the_trainer_has_terms_figures_and_any_layer() -> None:
    torch.manual_seed(0)
    network = create_model("dcvc", "ConvNN", d_hidden=4, prior="dual", lmbda=100.0, K=3, padding=0)
    clips = torch.stack([frames(), frames(seed=1)])[..., :60, :50]
    answer = network.train()(clips)
    assert tuple(answer.terms) == network.terms
    answer.terms["rate"].backward()
    with torch.no_grad():
        answer = network.eval()(clips)
        single = network(clips[1:])
    assert answer.terms["prediction"] == 0
    assert {name: tuple(value.shape) for name, value in answer.figures.items()} == dict.fromkeys(network.figures, (2,))
    torch.testing.assert_close(single.figures["rate_distortion"], answer.figures["rate_distortion"][1:])
    nothing = network.train()(clips[:0])
    sum(nothing.terms.values()).backward()
    assert {value.shape[0] for value in nothing.figures.values()} == {0}
    total = answer.terms["distortion"] + answer.terms["rate"]
    torch.testing.assert_close(total, answer.figures["rate_distortion"].sum())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: DCVC(coding="both"), "coding='both' is not one of conditional, residual, intra"),
        (lambda: DCVC(8, 6, prior="quad"), "channels=6 must be a multiple of 4"),
        (lambda: DCVC(8, prior="grid"), "prior='grid' is not one of ar, dual, quad"),
        (lambda: small()(torch.rand(1, 3, 64, 48), torch.rand(1, 3, 64, 48)), "with sides that are multiples of 64"),
        (lambda: small()(torch.rand(1, 3, 64, 64)), "coding='conditional' takes a reference frame"),
        (lambda: small()(torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64)), "must have that of x"),
        (lambda: small(sends_motion=False)(*[torch.rand(1, 3, 64, 64)] * 2), "flow=None needs sends_motion=True"),
        (lambda: small(sends_motion=False).code(None, (64, 64)), "leaves the motion out of the stream"),
        (
            lambda: small(sends_motion=False).moved(*[torch.rand(1, 3, 64, 64)] * 2, torch.zeros(1, 2, 64, 64)),
            "moved needs",
        ),
        (lambda: create_model("dcvc", motion_epochs=-1), "motion_epochs=-1 must be an integer of at least 0"),
        (lambda: small().set_stage(5), "stage=5 must be at most 4"),
        (lambda: VideoCodec(coding="intra"), "knows no frame before"),
        (lambda: VideoCodec(4, 4, 4, 4, 4)(torch.rand(3, 3, 64, 64)), r"must be \(B, T, 3, H, W\)"),
        (lambda: SpyNet(6), "width=6 must be a multiple of 4"),
        (lambda: create_model("dcvc", lmbda=0.0), "lmbda=0.0 must be a positive number"),
    ],
    ids=range(15),
)
def test_bad_input(wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
