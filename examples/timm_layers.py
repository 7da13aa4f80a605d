"""Replace the 3 x 3 convolutions of a timm network by ConvNN layers and train it on handwritten digits."""

import timm
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from convnn import replace_layers

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
images = F.interpolate(images, size=32)  # the network halves a map five times
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]

network = timm.create_model("test_resnet", in_chans=1, num_classes=10)
# Channels, stride and padding stay; the stem keeps its convolutions, because it detects edges, which are local.
print(replace_layers(network, "ConvNN", where="layer*", similarity_type="Loc_Col"))

optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
for _ in range(4):
    network.train()
    for batch in train[torch.randperm(len(train))].split(32):
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()

network.eval()
with torch.no_grad():
    accuracy = (network(images[test]).argmax(1) == labels[test]).float().mean()
print(f"test accuracy {accuracy:.3f}")
