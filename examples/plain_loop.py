"""Train ConvNN layers on handwritten digits in a plain PyTorch loop."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from convnn.nn import Branching2d, ConvNN2d

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(len(images))
train, test = order[:1437], order[1437:]

network = nn.Sequential(
    # Half of the channels look at the 3 x 3 window, half at the 9 most similar pixels, wherever they are.
    # By distance: of a single channel the cosine would only compare signs.
    Branching2d.with_convnn(1, 16, K=9, branch_ratio=0.5, metric="euclidean"),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    # Loc_Col: similar in features and nearby; by features alone, too many pixels of a small map look alike.
    ConvNN2d(16, 32, K=9, similarity_type="Loc_Col", aggregation_type="Loc_Col"),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 4 * 4, 10),
)
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

for epoch in range(4):
    network.train()
    for batch in train[torch.randperm(len(train))].split(32):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        accuracy = (network(images[test]).argmax(1) == labels[test]).float().mean()
    print(f"epoch {epoch + 1}: test accuracy {accuracy:.3f}")
