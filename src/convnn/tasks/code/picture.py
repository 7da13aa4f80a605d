"""A frame, where its bits went, its motion in colour, and what the decoder shows."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.models.coding import CodedFrame, VideoCodec, padded
from convnn.tasks.code.measures import psnr
from convnn.viz.figure import INK, own_style, save_figure, write_title


def bit_map(coded: CodedFrame, names: tuple[str, ...] = ("y", "mv_y")) -> Tensor:
    """Return the bits of each position of the latents, summed over channels and latents: (B, H / 16, W / 16).

    Args:
        coded: a frame.
        names: of the latents that count; those that the frame does not have are left out.
    """
    return torch.stack([coded.bits[name].sum(1) for name in names if name in coded.bits]).sum(0)


@own_style()
@torch.no_grad()
def draw_coding(codec: VideoCodec, clip: Tensor, path: Path | str, *, frames: tuple[int, ...] = (1,)) -> Path:
    """Draw frames of a clip in rows: the frame, its bits at each position, its motion, and the decoded frame.

    The colour of a motion is its direction, its strength the length, as a share of the longest in its frame.

    Args:
        codec: the network.
        clip: (T, 3, H, W) with values from 0 to 1.
        path: the picture, .png, .pdf or .svg.
        frames: numbers of the frames, from 0; frame 0 has no motion.

    Returns:
        The path.

    Raises:
        InputError: a frame is not in the clip.
        OutputError: the file cannot be written.
    """
    for number in frames:
        check_at_least("frames", number, 0)
        if number >= clip.shape[0]:
            raise InputError(f"frames={frames} must be below {clip.shape[0]}, the number of frames of the clip")
    found = codec.eval()(padded(clip).unsqueeze(0))
    most = max(bit_map(found[number]).max().item() for number in frames)
    scale = PowerNorm(0.5, 0, max(most, 1e-6))  # the first frame has many times the bits of others
    height, width = clip.shape[2:]
    figure = Figure(figsize=(8, 0.7 + 2.2 * len(frames) * height / width), layout="constrained")
    rows = figure.subplots(len(frames), 4, squeeze=False)
    for panels, number in zip(rows, frames, strict=True):
        _draw_frame(panels, found[number], clip[number], number, scale)
    bar = figure.colorbar(rows[0, 1].images[0], ax=rows, location="bottom", aspect=25, shrink=0.25, anchor=(1 / 3, 1))
    bar.set_label("bits of 16 x 16 pixels", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, labelcolor=INK)
    return save_figure(figure, path)


def _draw_frame(panels: list[Axes], coded: CodedFrame, frame: Tensor, number: int, scale: PowerNorm) -> None:
    height, width = frame.shape[1:]
    recon = coded.recon[..., :height, :width].clamp(0, 1)
    quality = psnr(recon, frame.unsqueeze(0)).item()
    bpp = sum(value.item() for value in coded.bpp().values())
    bits = F.interpolate(bit_map(coded).unsqueeze(1), scale_factor=16, mode="nearest")[0, 0, :height, :width]
    _show(panels[0], frame, f"frame {number}")
    panels[1].imshow(bits.numpy(), cmap="viridis", norm=scale)
    write_title(panels[1], f"bits, {bpp:.2f} for a pixel")
    if coded.flow is None:
        _show(panels[2], torch.ones_like(frame), "by itself: no motion")
    else:
        from torchvision.utils import flow_to_image  # takes a second to import

        _show(panels[2], flow_to_image(coded.flow[..., :height, :width])[0].float() / 255, "motion")
    _show(panels[3], recon[0], f"decoded, {quality:.1f} dB")
    for panel in panels:
        panel.set_axis_off()


def _show(panel: Axes, image: Tensor, title: str) -> None:
    panel.imshow(image.permute(1, 2, 0).numpy())
    write_title(panel, title)
