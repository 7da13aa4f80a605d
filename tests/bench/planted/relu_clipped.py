import torch


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return x.clamp(0, 0.9)
