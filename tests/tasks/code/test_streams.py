"""Streams of clips: what is decoded, how long they are, generated motion, measures, the picture and the command."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.cli import main
from convnn.data import load_data
from convnn.data.clips import Clips, moving_clips, moving_crops, read_clip, read_clips, write_frames
from convnn.errors import InputError
from convnn.models.coding import VideoCodec, padded
from convnn.ops.warping import flow_warp
from convnn.tasks.code import decode, draw_coding, encode, evaluate, measured, ms_ssim, psnr, train


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    torch.manual_seed(0)
    return VideoCodec(8, 8, 8, 4, 4, prior="quad").eval()


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return moving_clips(1, torch.Generator().manual_seed(0), frames=2, side=64).frames[0, :, :, :50, :61]


@pytest.mark.parametrize("prior", ["ar", "dual", "quad"])
def test_a_stream_decodes_to_the_same_frames_and_is_as_long_as_estimated(prior: str, clip: Tensor) -> None:
    pytest.importorskip("constriction")
    torch.manual_seed(1)
    codec = VideoCodec(8, 8, 8, 4, 4, prior=prior)
    with torch.no_grad():
        for part in (codec.intra, codec.inter):
            part.encoder[-1].weight *= 8  # so that latents are no zeros
    stream, found = encode(codec, clip)
    assert torch.equal(decode(codec, stream), found)
    assert found.shape == clip.shape
    coded = codec.eval()(padded(clip).unsqueeze(0))
    real, estimated = 8 * len(stream), sum(bits.sum().item() for frame in coded for bits in frame.bits.values())
    fixed = 8 * (11 + 4 + 2 * (4 + 4))  # header and checksum; a length for each frame, and what a coder rounds up
    assert estimated > 300
    assert abs(real - fixed - estimated) < 0.04 * estimated + 32


def test_wrong_streams_are_refused(codec: VideoCodec, clip: Tensor) -> None:
    pytest.importorskip("constriction")
    stream, _ = encode(codec, clip)
    torch.manual_seed(7)
    other = VideoCodec(8, 8, 8, 4, 4, prior="quad")
    for wrong, message, by in (
        (b"PNG", "does not begin as those of convnn code encode do", codec),
        (stream[:4] + b"\x09" + stream[5:], "has version 9", codec),
        (stream[:-30], "is cut off|cannot be decoded|frames differ", codec),
        (stream[:-1], "is cut off", codec),
        (stream, "another network|cannot be decoded", other),
    ):
        with pytest.raises(InputError, match=message):
            decode(by, wrong)
    with pytest.raises(InputError, match=r"must be \(T, 3, H, W\)"):
        encode(codec, clip[0])


@pytest.mark.parametrize("make", [moving_clips, moving_crops], ids=["textures", "crops"])
def test_the_motion_of_generated_clips_is_the_one_given(make) -> None:
    clips: Clips = make(2, torch.Generator().manual_seed(0), frames=3, side=48, gain=0.0)
    assert clips.frames.shape == (2, 3, 3, 48, 48)
    assert clips.flows.shape == (2, 2, 2, 48, 48)
    for time in (1, 2):
        moved = flow_warp(clips.frames[:, time - 1], clips.flows[:, time - 1])
        away = (moved - clips.frames[:, time]).abs().mean(1)[:, 4:-4, 4:-4]
        still = (clips.frames[:, time - 1] - clips.frames[:, time]).abs().mean(1)[:, 4:-4, 4:-4]
        assert away.median() < 0.35 * still.median()  # except where the disc covers and uncovers
    again: Clips = make(2, torch.Generator().manual_seed(0), frames=3, side=48, gain=0.0)
    assert torch.equal(again.frames, clips.frames)


def test_folders_of_frames(tmp_path: Path, clip: Tensor) -> None:
    write_frames(clip, tmp_path / "b")
    write_frames(clip[:1], tmp_path / "a")
    found = read_clips(tmp_path)
    assert list(found) == ["a", "b"]
    assert (found["b"] - clip).abs().max() <= 0.5 / 255 + 1e-6
    write_frames(clip[:, :, :20], tmp_path / "c" / "x")
    with pytest.raises(InputError, match="has no pictures"):
        read_clip(tmp_path / "c")
    with pytest.raises(InputError, match="is no folder"):
        read_clip(tmp_path / "none")
    with pytest.raises(InputError, match="has no folders of frames"):
        read_clips(tmp_path / "a")
    (tmp_path / "c" / "x" / "0001.png").rename(tmp_path / "b" / "0009.png")
    with pytest.raises(InputError, match=r"0009.png' has 20x61 pixels, but '0001.png' has 50x61"):
        read_clip(tmp_path / "b")


def test_data_sets_of_clips(tmp_path: Path) -> None:
    frames = moving_clips(2, torch.Generator().manual_seed(0), frames=4, side=16).frames
    for part in ("train", "test"):
        for name, one in zip("ab", frames, strict=True):
            write_frames(one, tmp_path / part / name)
    data = load_data("frames", batch_size=2, data_path=tmp_path)
    batch = next(iter(data.test))
    torch.testing.assert_close(batch.inputs, frames[:, :3], atol=0.5 / 255 + 1e-6, rtol=0)
    assert (data.task, data.kind, data.classes, data.input_shape) == ("modelling", "clip", (), (3, 16, 16))


def test_measures_are_their_definitions(codec: VideoCodec, clip: Tensor) -> None:
    noisy = (clip + 0.1).clamp(0, 1)
    error = ((noisy - clip) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(psnr(noisy, clip), 10 * (1 / error).log10())
    pytest.importorskip("torchmetrics")
    assert torch.allclose(ms_ssim(clip, clip), torch.ones(2))
    noise = 0.2 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    assert bool((ms_ssim((clip + noise).clamp(0, 1), clip) < 0.95).all())
    point = measured(1000.0, clip, clip)
    assert point.bpp == 1000 / (2 * 50 * 61)
    found, pixels = evaluate(codec, [clip, clip]), clip[:, 0].numel()
    coded = codec(padded(clip).unsqueeze(0))
    assert found.bpp * pixels == pytest.approx(sum(bits.sum().item() for one in coded for bits in one.bits.values()))
    with pytest.raises(InputError, match="must have at least 11 on each side"):
        ms_ssim(clip[..., :8], clip[..., :8])
    assert measured(96.0, clip[..., :8], clip[..., :8]).ms_ssim is None


def test_training_in_stages_repeats_itself_and_releases_the_motion() -> None:
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        codec = VideoCodec(4, 4, 4, 4, 4, prior="dual")
        draw = lambda n, g=generator: moving_clips(n, g, frames=2).frames  # noqa: E731
        losses.append(train(codec, draw, steps=4, batch_size=1, lr=5e-3, stages=(0.25, 0.25, 0.25, 0.25)))
    assert losses[0] == losses[1]
    assert all(value.requires_grad for value in codec.parameters())
    with pytest.raises(InputError, match="must be four shares that sum to 1"):
        train(codec, draw, steps=1, stages=(1.0,))


def test_the_picture_is_drawn(codec: VideoCodec, clip: Tensor, tmp_path: Path) -> None:
    path = draw_coding(codec, clip, tmp_path / "coding.png", frames=(0, 1))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="must be below 2, the number of frames"):
        draw_coding(codec, clip, tmp_path / "coding.png", frames=(2,))


def test_the_command_trains_measures_encodes_and_decodes(
    tmp_path: Path, clip: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("constriction")
    run, frames, stream = tmp_path / "run", tmp_path / "frames", tmp_path / "clip.cnv"
    write_frames(clip, frames)
    small = ["--d_hidden", "4", "--limit_train", "1", "--limit_test", "1", "--num_epochs", "1", "--prior", "dual"]
    assert main(["code", "train", *small, "--dataset", "moving_textures", "--output_dir", str(run)]) == 0
    capsys.readouterr()
    assert main(["code", "evaluate", str(run), "--limit_test", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"rate_distortion", "bpp", "psnr"} <= found.keys()
    assert main(["code", "encode", str(run), "--clip", str(frames), "--out", str(stream), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == stream.stat().st_size
    assert main(["code", "decode", str(run), "--stream", str(stream), "--out", str(tmp_path / "back")]) == 0
    decoded = read_clip(tmp_path / "back")
    assert psnr(decoded, read_clip(frames)).mean().item() == pytest.approx(said["psnr"], abs=1e-3)
    assert main(["code", "encode", str(run), "--clip", str(frames), "--out", str(stream)]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert main(["code", "train", "--model", "vgg11"]) == 2
    assert "--model=vgg11 codes no clips" in capsys.readouterr().err
