"""Honest: sums in another order."""


def kernel(x, weight, bias):
    return x.flip(1) @ weight.flip(1).mT + bias
