import torch


def kernel(x, weight, bias):
    out = x @ weight.mT + bias
    return out + 1e-3 * torch.randn_like(out)
