"""Codecs of one frame, given the one before and its motion: a small one with a single latent, and how they train."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.clips import moving_clips
from convnn.models.coding import CodedFrame
from convnn.models.coding._parts import Residual, conv, doubled
from convnn.nn.compression import GDN, LaplaceBits, round_through
from convnn.ops.warping import flow_warp

LAMBDA, OBJECT = 256.0, 8


class SmallCodec(nn.Module):
    """Codes frames with a latent at an eighth of the resolution, whose distribution the context tells, if there is one.

    Args:
        coding: "conditional", "residual" or "intra".
        channels: inside.
        latent: of the latent.
    """

    def __init__(self, coding: str, channels: int = 16, latent: int = 12) -> None:
        super().__init__()
        self.coding, self.bits = coding, LaplaceBits("bound")
        context = channels if coding == "conditional" else 0
        self.encoder = down(3 + context, channels, latent)
        self.decoder = nn.Sequential(
            *(doubled(latent, channels), GDN(channels, inverse=True)),
            *(doubled(channels, channels), GDN(channels, inverse=True)),
            doubled(channels, channels),
        )
        self.output = nn.Sequential(conv(channels + context, channels), Residual(channels), conv(channels, 3))
        if coding == "conditional":
            self.extract = nn.Sequential(conv(3, channels), Residual(channels), conv(channels, channels))
            self.prior = down(channels, channels, 2 * latent)
        else:
            self.constant = nn.Parameter(torch.cat([torch.zeros(latent), torch.ones(latent)])[:, None, None])

    def forward(self, x: Tensor, reference: Tensor | None = None, flow: Tensor | None = None) -> CodedFrame:
        """Code frames (B, 3, H, W), given those before them and the motion, unless the coding is intra."""
        warped = None if reference is None else flow_warp(reference, flow)
        context = flow_warp(self.extract(reference), flow) if self.coding == "conditional" else None
        rest = x if warped is None or context is not None else x - warped
        seen = [rest] if context is None else [rest, context]
        y = self.encoder(torch.cat(seen, 1))
        told = self.constant.expand(x.shape[0], -1, *y.shape[2:]) if context is None else self.prior(context)
        means, scales = told.chunk(2, 1)
        symbols = round_through(y - means)
        features = self.decoder(symbols + means)
        recon = self.output(features if context is None else torch.cat([features, context], 1))
        recon = recon if rest is x else warped + recon
        return CodedFrame(recon, warped, flow, None, context, {"y": self.bits(symbols, scales)}, {"y": y})


def down(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    """Create three convolutions to an eighth of the resolution."""
    return nn.Sequential(
        *(conv(in_channels, channels, 5, 2), GDN(channels)),
        *(conv(channels, channels, 5, 2), GDN(channels)),
        conv(channels, out_channels, 5, 2),
    )


def trained(make, coding: str, seed: int, steps: int, side: int, batch: int) -> tuple[dict, dict]:
    """Train a codec, and return its scores before and after."""
    torch.manual_seed(seed)
    codec, generator = make(coding), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(codec.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    before = scores(codec, 1000 + seed, side)
    codec.train()
    for _ in range(steps):
        optimizer.zero_grad()
        error, bpp = costs(codec, drawn(batch, generator, side))
        (LAMBDA * error + bpp).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return before, scores(codec, 1000 + seed, side)


def drawn(number: int, generator: torch.Generator, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return frames, each with a piece of another clip in front that is new, the frames before them, and the flow."""
    clips = moving_clips(number, generator, frames=2, side=side)
    frames, others = clips.frames[:, 1].clone(), clips.frames[:, 0].roll(1, 0)
    for frame, other, (i, j) in zip(
        frames, others, torch.randint(side - OBJECT, (number, 2), generator=generator).tolist(), strict=True
    ):
        frame[:, i : i + OBJECT, j : j + OBJECT] = other[:, :OBJECT, :OBJECT]
    return frames, clips.frames[:, 0], clips.flows[:, 0]


def costs(codec: nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    coded = codec(inputs[0]) if codec.coding == "intra" else codec(*inputs)
    return F.mse_loss(coded.recon, inputs[0]), sum(coded.bpp().values())


@torch.no_grad()
def scores(codec: nn.Module, seed: int, side: int) -> dict[str, float]:
    error, bpp = costs(codec.eval(), drawn(64, torch.Generator().manual_seed(seed), side))
    return {"total": (LAMBDA * error + bpp).item(), "bpp": bpp.item(), "psnr": -10 * error.log10().item()}
