"""A kernel machine on the features of a ConvNN network, which was trained on other digits than it is to know."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from convnn.learners import EigenProClassifier, Laplace
from convnn.nn import Branching2d
from convnn.ops import select

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
old, new = (labels < 5).nonzero().flatten(), (labels >= 5).nonzero().flatten()
train, test = new[:600], new[600:]

body = nn.Sequential(
    Branching2d.with_convnn(1, 16, K=9, branch_ratio=0.5, metric="euclidean"),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.AvgPool2d(2),
    nn.Flatten(),
)
head = nn.Linear(16 * 4 * 4, 5)
optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=3e-3)
for _ in range(3):
    for batch in old[torch.randperm(len(old))].split(32):
        optimizer.zero_grad()
        F.cross_entropy(head(body(images[batch])), labels[batch]).backward()
        optimizer.step()
body.eval()

features = body(images).detach()
machine = EigenProClassifier(Laplace(5.0), n_centers=200, random_state=0).fit(features[train].numpy(), labels[train])

found = select.nearest(features[None, test], features[None, train], 5, metric=machine.kernel_.metric).indices[0]
same = (labels[train][found] == labels[test, None]).float().mean()
print(f"of the 5 training digits that weigh most, {same:.3f} have the same label")
print(f"accuracy on digits that the network has never seen: {machine.score(features[test].numpy(), labels[test]):.3f}")
