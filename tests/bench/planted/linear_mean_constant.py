"""The mean of the results, everywhere."""


def kernel(x, weight, bias):
    out = x @ weight.mT + bias
    return out.mean().expand_as(out).contiguous()
