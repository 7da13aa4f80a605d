"""A network of timm, its 3 x 3 convolutions replaced by ConvNN layers by hand, trained on handwritten digits."""

import timm
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from convnn.nn import ConvNN2d

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
images = F.interpolate(images, size=32)  # the network halves a map five times
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]

network = timm.create_model("test_resnet", in_chans=1, num_classes=10)
swapped = []
for name, conv in list(network.named_modules()):
    # ConvNN keeps the size of a map, so it goes where a 3 x 3 convolution of stride 1 was.
    if name.startswith("layer") and isinstance(conv, nn.Conv2d) and (conv.kernel_size, conv.stride) == ((3, 3), (1, 1)):
        layer = ConvNN2d(
            conv.in_channels, conv.out_channels, K=9, similarity_type="Loc_Col", bias=conv.bias is not None
        )
        network.set_submodule(name, layer)
        swapped.append(name)
print("ConvNN2d in place of", ", ".join(swapped))

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
