"""Train a U-Net to tell discs, crosses and triangles apart, and draw what it finds: `unet.py segments.png`."""

import sys

import torch

from convnn.data.shapes import SHAPE_CLASSES, make_shapes
from convnn.models import create_model
from convnn.tasks.segment.picture import draw_masks
from convnn.train.optim import cross_entropy_and_dice
from convnn.train.overlap import Overlap

torch.manual_seed(0)
network = create_model("unet", "Conv2d", num_classes=len(SHAPE_CLASSES), width=0.125, num_layers=3)
generator = torch.Generator().manual_seed(0)
steps = 300
optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
for _ in range(steps):
    images, classes = make_shapes(16, generator, side=32)
    optimizer.zero_grad()
    loss = cross_entropy_and_dice(network(images / 255), classes.long()) / len(images)
    loss.backward()
    optimizer.step()
    scheduler.step()

network.eval()
images, classes = make_shapes(64, generator, side=32)
with torch.no_grad():
    logits = network(images / 255)
overlap = Overlap.of(logits, classes.long())
if len(sys.argv) > 1:
    rows = {"masks": classes, "found": logits.argmax(1)}
    draw_masks(list(images[:6] / 255), {name: list(row[:6]) for name, row in rows.items()}, SHAPE_CLASSES, sys.argv[1])
for name, share in zip(SHAPE_CLASSES, overlap.iou.tolist(), strict=True):
    print(f"intersection over union of {name} {share:.3f}")
print(f"mean {overlap.iou.nanmean():.3f}")
