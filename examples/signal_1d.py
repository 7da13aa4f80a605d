"""Classify signals in one dimension: three kinds of waves, at unknown frequency and phase."""

import torch
from torch import nn
from torch.nn import functional as F

from convnn.nn import ConvNN1d

LENGTH = 64


def make_signals(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make noisy sine, square and sawtooth waves (B, 1, T) with labels (B,)."""
    labels = torch.randint(3, (count,))
    turns = torch.rand(count, 1) + torch.linspace(0, 1, LENGTH) * (2 + 4 * torch.rand(count, 1))
    sine = (2 * torch.pi * turns).sin()
    waves = torch.stack([sine, sine.sign(), 2 * (turns % 1) - 1])
    signals = waves[labels, torch.arange(count)] + 0.1 * torch.randn(count, LENGTH)
    return signals.unsqueeze(1), labels


torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv1d(1, 16, kernel_size=5, padding=2),  # local shape
    nn.BatchNorm1d(16),
    nn.ReLU(),
    ConvNN1d(16, 32, K=8),  # combined with similar places, periods away
    nn.BatchNorm1d(32),
    nn.ReLU(),
    nn.AdaptiveAvgPool1d(1),
    nn.Flatten(),
    nn.Linear(32, 3),
)
optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
for _ in range(120):
    signals, labels = make_signals(64)
    optimizer.zero_grad()
    F.cross_entropy(network(signals), labels).backward()
    optimizer.step()

network.eval()
signals, labels = make_signals(512)
with torch.no_grad():
    accuracy = (network(signals).argmax(1) == labels).float().mean()
print(f"test accuracy {accuracy:.3f}")
